"""Asking through Serve's handle: what a stand-in for the handle does, and what becomes of the request."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from metamath_ray.evaluation import Answer, EngineLostError
from metamath_ray.evaluation._clients import AttemptFailedError, HandleClient
from metamath_ray.evaluation._replica import EngineFaultError

from .conftest import make_requests

ANSWER = Answer("The answer is: 1", "stop", 5, 4)
REASONS: list[str | None] = []


class Response:
    """What a handle gives: awaited once, cancelled where nobody waits any more."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.was_cancelled = False

    def __await__(self) -> Iterator[Any]:
        return self._wait().__await__()

    async def _wait(self) -> Answer:
        if self.outcome is None:
            await asyncio.sleep(3600)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def cancel(self) -> None:
        self.was_cancelled = True


class Handle:
    """Serve's handle as far as it is used."""

    def __init__(self, outcome: Any) -> None:
        self.response = Response(outcome)
        self.generate = self

    def remote(self, prompt: str, sampling: Any) -> Response:
        return self.response


@pytest.fixture(autouse=True)
def _application(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application whose state is the next of `REASONS`, the last one for ever."""
    REASONS[:] = [None]
    monkeypatch.setattr("metamath_ray.evaluation._clients._WATCH_S", 0.01)
    monkeypatch.setattr(
        "metamath_ray.evaluation._clients.failure_of",
        lambda name: REASONS.pop(0) if len(REASONS) > 1 else REASONS[0],
    )


def ask(handle: Handle, *, timeout_s: float = 30) -> Answer:
    async def once() -> Answer:
        client = HandleClient("evaluation", handle)
        await client.check()
        try:
            async with asyncio.timeout(timeout_s):
                return await client.ask(make_requests(1)[0])
        finally:
            await client.close()

    return asyncio.run(once())


def test_an_answer_is_an_answer() -> None:
    assert ask(Handle(ANSWER)) == ANSWER


@pytest.mark.parametrize(
    "error", [EngineFaultError("the engine failed"), ActorDiedError()], ids=["fault", "dead-replica"]
)
def test_what_another_replica_may_do_is_a_failed_attempt(error: Exception) -> None:
    with pytest.raises(AttemptFailedError):
        ask(Handle(error))


def test_what_a_replica_raised_is_told_in_its_own_words() -> None:
    error = RayTaskError(
        "handle_request", "Traceback of Ray's\n", EngineFaultError("the engine failed: no slot")
    )
    with pytest.raises(AttemptFailedError, match=r"^the engine failed: no slot$"):
        ask(Handle(error.as_instanceof_cause()))


def test_a_mistake_of_our_own_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        ask(Handle(ZeroDivisionError()))


def test_a_request_that_nobody_will_answer_ends_with_its_application() -> None:
    REASONS[:] = [None, None, "no memory for the engine"]
    handle = Handle(None)
    with pytest.raises(EngineLostError, match="no memory for the engine"):
        ask(handle)
    assert handle.response.was_cancelled


def test_a_request_that_is_given_up_is_cancelled_at_the_engine() -> None:
    handle = Handle(None)
    with pytest.raises(TimeoutError):
        ask(handle, timeout_s=0.05)
    assert handle.response.was_cancelled
