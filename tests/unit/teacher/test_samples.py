"""Every sample is asked for once: several in one call, wanted twice, stored before, or given up by a caller."""

import asyncio

import pytest
from asking import one, run

from metamath_ray.teacher import Failure, Reply


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


@pytest.mark.parametrize("fault", ["500", "empty"])
def test_a_fault_now_and_then_gives_none_of_many_samples_up(make_bench, prompt, fault):
    """Each is made good by the next call; only what fails again and again is given up."""

    async def check() -> None:
        teacher = {"samples_per_request": 1, "give_up_after": 0.1}
        async with make_bench(script=[fault, "ok"] * 8, teacher=teacher) as bench:
            outcomes = await bench.worker.ask(prompt(num_samples=12))
            assert all(isinstance(outcome, Reply) for outcome in outcomes)
            assert bench.double.stats.requests == 20

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
