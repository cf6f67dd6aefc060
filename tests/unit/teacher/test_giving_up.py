"""When asking again comes to its end: a silent teacher, a poisoned prompt, a long pause, a spent budget."""

import asyncio

import pytest
from asking import one, run

from metamath_ray.teacher import Failure, Reply
from metamath_ray.teacher._health import Backoff

pytestmark = pytest.mark.slow

QUICK = Backoff(first_s=0.01, max_s=0.05)


@pytest.mark.parametrize("fault", ["500", "reset", "hang", "429"])
def test_a_teacher_that_never_answers_stops_the_run(make_bench, prompt, fault):
    async def check() -> None:
        teacher = {"give_up_after": 0.6, "timeout": 0.2}
        async with make_bench(always=fault, teacher=teacher) as bench:
            failures = await asyncio.gather(*(bench.worker.ask(prompt(f"{i}")) for i in range(3)))
            assert {one(outcomes).reason for outcomes in failures} == {"stopped"}
            assert "gave no reply for" in str(bench.governor.status().stop)

    run(check())


def test_a_teacher_that_is_not_there_stops_the_run(make_bench, prompt):
    async def check() -> None:
        teacher = {"give_up_after": 0.3, "base_url": "http://127.0.0.1:9/v1"}
        async with make_bench(teacher=teacher) as bench:
            failure = one(await bench.worker.ask(prompt()))
            assert isinstance(failure, Failure)
            assert failure.reason == "stopped"

    run(check())


def test_one_prompt_that_always_fails_is_given_up_while_others_are_answered(make_bench, prompt):
    async def check() -> None:
        teacher = {"give_up_after": 1.0}
        async with make_bench(always="500", always_for="poison", teacher=teacher) as bench:
            poisoned = asyncio.create_task(bench.worker.ask(prompt("poison")))
            number = 0
            while not poisoned.done():
                number += 1
                assert isinstance(one(await bench.worker.ask(prompt(f"fine {number}"))), Reply)
                await asyncio.sleep(0.02)
            failure = one(poisoned.result())
            assert isinstance(failure, Failure)
            assert failure.reason == "unanswered"
            assert bench.governor.status().stop is None

    run(check())


def test_a_first_fault_after_a_long_idle_time_does_not_stop_the_run(make_bench, prompt):
    async def check() -> None:
        async with make_bench(script=["500"], teacher={"give_up_after": 0.5}) as bench:
            await asyncio.sleep(0.7)
            assert isinstance(one(await bench.worker.ask(prompt())), Reply)

    run(check())


def test_a_refusal_is_an_answer_and_ends_a_silence(make_bench, prompt):
    async def check() -> None:
        async with make_bench(script=["500", "400"], teacher={"give_up_after": 0.5}) as bench:
            assert isinstance(one(await bench.worker.ask(prompt("bad"))), Failure)
            await asyncio.sleep(0.7)
            bench.double.change(script=["500"])
            assert isinstance(one(await bench.worker.ask(prompt())), Reply)

    run(check())


def test_two_faults_with_an_idle_time_between_do_not_stop_the_run(make_bench, prompt):
    """As where the call after the first went to another endpoint, or its caller is gone."""

    async def check() -> None:
        never = Backoff(first_s=600.0, max_s=600.0)
        async with make_bench(script=["500"], teacher={"give_up_after": 0.5}, backoff=never) as bench:
            given_up = asyncio.create_task(bench.worker.ask(prompt("first")))
            while bench.worker._health[0].faults == 0:
                await asyncio.sleep(0.001)
            given_up.cancel()
            await asyncio.sleep(0.7)
            bench.double.change(script=["500"])
            bench.worker._backoff = QUICK
            assert isinstance(one(await bench.worker.ask(prompt())), Reply)

    run(check())


def test_a_pause_longer_than_the_user_would_wait_stops_the_run(make_bench, prompt):
    async def check() -> None:
        async with make_bench(script=["429:3600"], teacher={"give_up_after": 10.0}) as bench:
            failure = one(await bench.worker.ask(prompt()))
            assert isinstance(failure, Failure)
            assert "wants a pause of 3600 s" in failure.detail

    run(check())


def test_retry_after_pauses_every_request(make_bench, prompt):
    """By count, not by a time window: what was under way when the 429 came back may arrive late on a busy machine."""

    async def check() -> None:
        async with make_bench(script=["429:3"], teacher={"max_in_flight": 2}) as bench:
            asks = [asyncio.create_task(bench.worker.ask(prompt(f"{i}"))) for i in range(20)]
            while bench.governor.status().endpoints[0].paused_s == 0:
                await asyncio.sleep(0.001)
            under_way = bench.double.stats.requests + bench.worker._leases._in_flight
            assert all(isinstance(one(outcome), Reply) for outcome in await asyncio.gather(*asks))
            arrivals = sorted(bench.double.stats.arrivals)
            in_the_pause = [at for at in arrivals if at < arrivals[0] + 3.0]
            assert len(in_the_pause) <= under_way <= 4
            assert len(arrivals) == 21

    run(check())


def test_the_budget_stops_the_run(make_bench, prompt):
    async def check() -> None:
        price = {"usd_per_million_completion_tokens": 1e6, "max_in_flight": 4}  # a dollar a token
        async with make_bench(budget_usd=500.0, teacher=price) as bench:
            outcomes = await asyncio.gather(*(bench.worker.ask(prompt(f"{i}")) for i in range(60)))
            reasons = {one(outcome).reason for outcome in outcomes if isinstance(one(outcome), Failure)}
            assert reasons == {"stopped"}
            status = bench.governor.status()
            assert "budget of 500.0 USD" in str(status.stop)
            dearest = max(reply.completion_tokens for reply in bench.stored())
            assert 500 - dearest <= status.counters.usd <= 500 + 4 * dearest

    run(check())


@pytest.mark.parametrize("faults", [1, 3, 10, 10_000])
def test_the_backoff_grows_and_is_bounded(faults):
    backoff = Backoff(first_s=0.5, max_s=30.0)
    waits = [backoff.wait_s(faults) for _ in range(200)]
    ceiling = min(30.0, 0.5 * 2.0 ** min(faults - 1, 64))
    assert all(ceiling / 4 <= wait <= ceiling for wait in waits)
