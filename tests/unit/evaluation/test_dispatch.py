"""Every request is asked until it is answered, each kept once, in the order of the longest."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from metamath_ray.evaluation import Answer, Completion, EngineLostError, Request
from metamath_ray.evaluation._clients import AttemptFailedError, BadEndpointError
from metamath_ray.evaluation._dispatch import Patience, Traffic, dispatch, order_requests

from .conftest import make_requests

ANSWER = Answer("The answer is: 1", "stop", 5, 4)
PATIENCE = Patience(request_timeout_s=5, deadline_s=30)


class Script:
    """Asks nobody: does for the n-th attempt of a request what `act` says."""

    def __init__(self, act: Callable[[Request, int], Answer]) -> None:
        self.act = act
        self.attempts: Counter[str] = Counter()
        self.order: list[str] = []
        self.in_flight = self.max_in_flight = 0

    async def check(self) -> str:
        return ""

    async def ask(self, request: Request) -> Answer:
        self.attempts[request.problem.id] += 1
        self.order.append(request.problem.id)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0.002)
            return self.act(request, self.attempts[request.problem.id])
        finally:
            self.in_flight -= 1

    async def close(self) -> None: ...


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metamath_ray.evaluation._dispatch._FIRST_PAUSE_S", 0.01)


def run(
    requests: Sequence[Request],
    client: Script,
    *,
    max_in_flight: int = 8,
    patience: Patience = PATIENCE,
    kept: list[Completion] | None = None,
) -> tuple[list[Completion], Traffic]:
    arrived: list[Completion] = [] if kept is None else kept
    traffic = Traffic()

    asyncio.run(
        dispatch(
            requests,
            client,
            max_in_flight=max_in_flight,
            patience=patience,
            keep=lambda _, completion: arrived.append(completion),
            traffic=traffic,
        )
    )
    return arrived, traffic


def flaky(request: Request, attempt: int) -> Answer:
    if attempt < 3:
        raise AttemptFailedError("the replica died")
    return ANSWER


def test_each_completion_is_kept_once_and_no_more_are_in_flight_than_allowed() -> None:
    requests, client = make_requests(50), Script(lambda request, attempt: ANSWER)
    kept, traffic = run(requests, client, max_in_flight=7)
    assert Counter(one.key for one in kept) == Counter(request.key for request in requests)
    assert client.max_in_flight == 7
    assert (traffic.answered, traffic.retries, traffic.completion_tokens) == (50, 0, 200)


def test_failed_attempts_are_repeated_until_one_succeeds() -> None:
    requests, client = make_requests(10), Script(flaky)
    kept, traffic = run(requests, client)
    assert len(kept) == 10
    assert set(client.attempts.values()) == {3}
    assert traffic.retries == 20


def test_a_request_that_goes_on_failing_ends_the_run_and_the_others_are_kept() -> None:
    requests = make_requests(10)
    bad = requests[4].problem.id

    def act(request: Request, attempt: int) -> Answer:
        if request.problem.id == bad:
            raise AttemptFailedError("the engine died")
        return ANSWER

    kept: list[Completion] = []
    with pytest.raises(EngineLostError, match=rf"{bad} had no completion for 0 s; .*: the engine died"):
        run(requests, Script(act), patience=Patience(5, 0.2), kept=kept)
    assert {one.problem_id for one in kept} == {request.problem.id for request in requests} - {bad}


def test_an_attempt_that_ran_for_long_before_it_failed_is_repeated() -> None:
    class DiesLate(Script):
        async def ask(self, request: Request) -> Answer:
            if not self.attempts[request.problem.id]:
                await asyncio.sleep(0.5)  # on a slow machine hours, until its replica is killed
            return await super().ask(request)

    client = DiesLate(lambda request, attempt: flaky(request, attempt + 1))
    kept, traffic = run(make_requests(3), client, patience=Patience(None, 0.4))
    assert (len(kept), traffic.retries) == (3, 3)


def test_an_answer_that_does_not_come_in_time_is_asked_for_again() -> None:
    class Hangs(Script):
        async def ask(self, request: Request) -> Answer:
            if self.attempts[request.problem.id] == 0:
                self.attempts[request.problem.id] += 1
                await asyncio.sleep(60)
            return await super().ask(request)

    kept, traffic = run(make_requests(3), Hangs(lambda *_: ANSWER), patience=Patience(0.1, 30))
    assert (len(kept), traffic.retries) == (3, 3)


def test_a_slow_answer_is_waited_for_where_no_time_is_set() -> None:
    class Slow(Script):
        async def ask(self, request: Request) -> Answer:
            await asyncio.sleep(0.5)
            return await super().ask(request)

    kept, traffic = run(make_requests(3), Slow(lambda *_: ANSWER), patience=Patience(None, 0.1))
    assert (len(kept), traffic.retries) == (3, 0)


def test_a_server_that_refuses_all_ends_the_run_at_once() -> None:
    def act(request: Request, attempt: int) -> Answer:
        raise BadEndpointError("401")

    client = Script(act)
    with pytest.raises(BadEndpointError):
        run(make_requests(30), client, max_in_flight=4)
    assert sum(client.attempts.values()) <= 4


def test_a_disk_that_refuses_ends_the_run() -> None:
    def keep(request: Request, completion: Completion) -> None:
        raise OSError("no space left")

    client = Script(lambda *_: ANSWER)
    with pytest.raises(OSError, match="no space left"):
        asyncio.run(
            dispatch(
                make_requests(200), client, max_in_flight=2, patience=PATIENCE, keep=keep, traffic=Traffic()
            )
        )
    assert sum(client.attempts.values()) < 200


def test_refused_requests_are_kept_as_failed_and_a_few_of_them_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusal = Answer("", "failed", 0, 0, "the prompt is too long")
    kept, traffic = run(make_requests(9), Script(lambda *_: refusal))
    assert ([one.finish_reason for one in kept], traffic.refused) == (["failed"] * 9, 9)
    assert len(caplog.messages) == 3
    assert caplog.messages[-1].endswith("was refused: the prompt is too long; others are counted as failed")


def test_the_longest_go_first_in_an_order_of_their_own() -> None:
    short, long = (
        make_requests(5),
        make_requests(5, prompt="A longer prompt: {}", max_new_tokens={"all": 2048}),
    )
    ordered = order_requests([*short, *long])
    assert ordered[:5] == order_requests(long)
    assert ordered == order_requests([*reversed(long), *reversed(short)])
    client = Script(lambda *_: ANSWER)
    run(ordered, client, max_in_flight=1)
    assert client.order == [request.problem.id for request in ordered]


@pytest.mark.parametrize("by_signal", [True, False], ids=["signal", "cancelled"])
def test_an_interrupted_run_keeps_all_that_has_arrived_and_is_silent(
    caplog: pytest.LogCaptureFixture, by_signal: bool
) -> None:
    answered, kept = [], []

    def act(request: Request, attempt: int) -> Answer:
        answered.append(request.key)
        return ANSWER

    def keep(request: Request, completion: Completion) -> None:
        time.sleep(0.001)  # a disk
        kept.append(request.key)

    def interrupt() -> None:  # what a signal's handler raises in the loop
        raise KeyboardInterrupt

    async def interrupted() -> None:
        traffic = Traffic()
        task = asyncio.create_task(
            dispatch(
                make_requests(100),
                Script(act),
                max_in_flight=3,
                patience=PATIENCE,
                keep=keep,
                traffic=traffic,
            )
        )
        while len(kept) < 10:
            await asyncio.sleep(0.001)
        if by_signal:
            asyncio.get_running_loop().call_soon(interrupt)
        else:
            task.cancel()
        await task

    with pytest.raises(KeyboardInterrupt if by_signal else asyncio.CancelledError):
        asyncio.run(interrupted())
    assert 10 <= len(kept) < 100
    assert kept == answered
    assert not caplog.records
