"""What each fault on the wire does, over real HTTP: DESIGN's table."""

import pytest
from asking import one, run

from metamath_ray.teacher import Failure, Reply

TRANSIENT = ["429", "429:0.1", "500", "503", "503:0.1", "reset", "truncated_json", "cut_body", "not_json"]


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
