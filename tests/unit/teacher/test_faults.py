"""What each fault on the wire does, over real HTTP: DESIGN's table."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from metamath_ray.teacher import Failure, Outcome, Reply
from metamath_ray.teacher._worker import Backoff

TRANSIENT = ["429", "429:0.1", "500", "503", "503:0.1", "reset", "truncated_json", "cut_body", "not_json"]


def run(coroutine: Coroutine[Any, Any, Any], within_s: float = 20.0) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, within_s))


def one(outcomes: list[Outcome]) -> Outcome:
    assert len(outcomes) == 1
    return outcomes[0]


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_passing_fault_is_retried_and_the_reply_is_stored_once(make_bench, prompt, fault):
    async def check() -> None:
        async with make_bench(script=[fault]) as bench:
            reply = one(await bench.worker.ask(prompt()))
            assert isinstance(reply, Reply)
            assert bench.stored() == [reply]
            assert bench.double.stats.requests == 2
            await bench.worker.report()
            counters = bench.governor.status().counters
            assert (counters.calls_made, counters.calls_failed, counters.retries) == (1, 1, 1)
            assert counters.http_429 == int(fault.startswith("429"))

    run(check())


def test_a_hang_beyond_the_timeout_is_retried(make_bench, prompt):
    async def check() -> None:
        async with make_bench(script=["hang"], teacher={"timeout": 0.3}) as bench:
            assert isinstance(one(await bench.worker.ask(prompt())), Reply)
            assert bench.double.stats.requests == 2

    run(check())


@pytest.mark.parametrize("fault", ["401", "403", "404", "insufficient_quota"])
def test_a_hopeless_teacher_stops_the_run_and_stores_nothing(make_bench, prompt, fault):
    async def check() -> None:
        async with make_bench(script=[fault]) as bench:
            failure = one(await bench.worker.ask(prompt()))
            assert isinstance(failure, Failure)
            assert failure.reason == "stopped"
            later = one(await bench.worker.ask(prompt("another")))
            assert isinstance(later, Failure)
            assert later.reason == "stopped"
            assert bench.governor.status().stop == failure.detail
            assert bench.double.stats.requests == 1
            assert bench.stored() == []

    run(check())


def test_a_stop_says_why_and_never_the_key(make_bench, prompt):
    async def check() -> None:
        async with make_bench(api_key="sk-wrong", models=["double-1"]) as bench:
            bench.double.change(api_key="sk-right")
            failure = one(await bench.worker.ask(prompt()))
            assert isinstance(failure, Failure)
            assert "refused the API key (401)" in failure.detail
            assert "sk-" not in failure.detail

    run(check())


def test_an_unknown_model_stops_the_run(make_bench, prompt):
    async def check() -> None:
        async with make_bench(models=["other"]) as bench:
            failure = one(await bench.worker.ask(prompt()))
            assert isinstance(failure, Failure)
            assert "no such model or path (404)" in failure.detail

    run(check())


@pytest.mark.parametrize("fault", ["400", "context_too_long"])
def test_a_rejected_request_fails_alone_and_the_run_goes_on(make_bench, prompt, fault):
    async def check() -> None:
        async with make_bench(script=[fault]) as bench:
            failure = one(await bench.worker.ask(prompt()))
            assert isinstance(failure, Failure)
            assert failure.reason == "rejected"
            assert isinstance(one(await bench.worker.ask(prompt("another"))), Reply)
            assert bench.governor.status().stop is None
            assert len(bench.stored()) == 1

    run(check())


def test_a_failure_is_never_stored_and_a_later_run_asks_again(make_bench, prompt, second_worker):
    async def check() -> None:
        async with make_bench(script=["400"]) as bench:
            assert isinstance(one(await bench.worker.ask(prompt())), Failure)
            later = second_worker(bench)
            assert isinstance(one(await later.ask(prompt())), Reply)
            await later.close()

    run(check())


@pytest.mark.parametrize("fault", ["empty", "null_content", "no_choices", "content_filter"])
def test_no_content_is_asked_for_three_times_then_failed(make_bench, prompt, fault):
    async def check() -> None:
        async with make_bench(script=[fault] * 3) as bench:
            failure = one(await bench.worker.ask(prompt()))
            assert isinstance(failure, Failure)
            assert failure.reason == "empty"
            assert bench.double.stats.requests == 3
            assert bench.stored() == []

    run(check())


def test_no_content_once_is_made_good(make_bench, prompt):
    async def check() -> None:
        async with make_bench(script=["empty"]) as bench:
            assert isinstance(one(await bench.worker.ask(prompt())), Reply)
            assert bench.double.stats.requests == 2

    run(check())


def test_a_reply_cut_by_its_length_is_stored_as_such(make_bench, prompt):
    async def check() -> None:
        async with make_bench(script=["length"]) as bench:
            reply = one(await bench.worker.ask(prompt()))
            assert isinstance(reply, Reply)
            assert reply.finish_reason == "length"
            assert bench.stored() == [reply]
            assert bench.double.stats.requests == 1

    run(check())


def test_fewer_choices_than_asked_are_stored_and_the_rest_is_asked_again(make_bench, prompt):
    async def check() -> None:
        async with make_bench(script=["fewer"]) as bench:
            outcomes = await bench.worker.ask(prompt(num_samples=4))
            assert [outcome.sample_index for outcome in outcomes if isinstance(outcome, Reply)] == [
                0,
                1,
                2,
                3,
            ]
            asked = {name.split(":")[1]: count for name, count in bench.double.stats.by_prompt_and_n.items()}
            assert asked == {"4": 1, "1": 1}
            assert sorted(bench.stored(), key=lambda reply: reply.sample_index) == outcomes

    run(check())


@pytest.mark.parametrize(("habit", "most_requests"), [("ignore_n", 12), ("reject_n", 13)])
def test_an_endpoint_without_n_gives_all_samples_one_by_one(make_bench, prompt, habit, most_requests):
    async def check() -> None:
        async with make_bench(**{habit: True}) as bench:
            for text in ("a", "b", "c"):
                outcomes = await bench.worker.ask(prompt(text, num_samples=4))
                assert all(isinstance(outcome, Reply) for outcome in outcomes)
            assert bench.double.stats.requests <= most_requests

    run(check())


def test_one_prompt_that_is_too_long_does_not_turn_n_off(make_bench, prompt):
    async def check() -> None:
        async with make_bench(always="context_too_long", always_for="long") as bench:
            rejected = await bench.worker.ask(prompt("a long one", num_samples=4))
            assert {outcome.reason for outcome in rejected if isinstance(outcome, Failure)} == {"rejected"}
            await bench.worker.ask(prompt("short", num_samples=4))
            assert bench.double.stats.requests == 3

    run(check())


def test_the_bill_of_a_call_adds_up_over_its_samples(make_bench, prompt):
    async def check() -> None:
        async with make_bench() as bench:
            outcomes = await bench.worker.ask(prompt(num_samples=5))
            await bench.worker.report()
            counters = bench.governor.status().counters
            assert sum(outcome.prompt_tokens for outcome in outcomes) == counters.prompt_tokens > 0
            assert sum(outcome.completion_tokens for outcome in outcomes) == counters.completion_tokens > 0

    run(check())


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
            while bench.governor._paused_until <= time.monotonic():
                await asyncio.sleep(0.001)
            under_way = bench.double.stats.requests + bench.worker._leases._in_flight
            assert all(isinstance(one(outcome), Reply) for outcome in await asyncio.gather(*asks))
            arrivals = sorted(bench.double.stats.arrivals)
            in_the_pause = [at for at in arrivals if at < arrivals[0] + 3.0]
            assert len(in_the_pause) <= under_way <= 4
            assert len(arrivals) == 21

    run(check())


def test_the_same_sample_wanted_twice_at_once_is_asked_for_once(make_bench, prompt):
    async def check() -> None:
        async with make_bench(latency_s=[0.1, 0.1], random_replies=True) as bench:
            first, second = await asyncio.gather(
                bench.worker.ask(prompt(num_samples=2)), bench.worker.ask(prompt(num_samples=3))
            )
            assert second[:2] == first
            assert bench.double.stats.samples == 3

    run(check())


def test_a_stored_sample_is_never_asked_for_again(make_bench, prompt, second_worker):
    async def check() -> None:
        async with make_bench(random_replies=True) as bench:
            first = await bench.worker.ask(prompt(num_samples=3))
            assert await bench.worker.ask(prompt(num_samples=3)) == first
            later = second_worker(bench)
            assert await later.ask(prompt(num_samples=3)) == first
            assert bench.double.stats.requests == 1
            await later.ask(prompt(num_samples=5))
            assert bench.double.stats.samples == 5
            await later.close()

    run(check())


def test_what_a_dead_worker_stored_is_found_by_one_that_lives_on(make_bench, prompt, second_worker):
    """Ray repeats a dead worker's batch on another; that one looks again first."""

    async def check() -> None:
        async with make_bench(random_replies=True) as bench:
            alive = second_worker(bench)
            first = await bench.worker.ask(prompt(num_samples=3))
            alive.look_again()
            assert await alive.ask(prompt(num_samples=3)) == first
            assert bench.double.stats.requests == 1
            await alive.close()

    run(check())


def test_a_cancelled_request_gives_its_place_back(make_bench, prompt):
    async def check() -> None:
        async with make_bench(latency_s=[0.3, 0.3], teacher={"max_in_flight": 1}) as bench:
            for _ in range(3):
                task = asyncio.create_task(bench.worker.ask(prompt()))
                await asyncio.sleep(0.05)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert isinstance(one(await bench.worker.ask(prompt("last"))), Reply)

    run(check())


def test_without_an_endpoint_only_the_ledger_answers(make_bench, prompt):
    async def check() -> None:
        async with make_bench(teacher={"base_url": None}) as bench:
            failure = one(await bench.worker.ask(prompt()))
            assert isinstance(failure, Failure)
            assert failure.reason == "not_recorded"

    run(check())


def test_requests_in_flight_never_exceed_the_limit(make_bench, prompt):
    async def check() -> None:
        async with make_bench(latency_s=[0.02, 0.1], teacher={"max_in_flight": 5}) as bench:
            await asyncio.gather(*(bench.worker.ask(prompt(f"{i}")) for i in range(60)))
            assert bench.double.stats.max_in_flight == 5

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
