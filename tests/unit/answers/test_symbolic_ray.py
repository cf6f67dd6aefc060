"""The symbolic step where users run it: in Ray actors, in asyncio, off the main thread."""

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from metamath_ray.answers import Comparison, equal

pytestmark = pytest.mark.slow

NEEDS_SYMBOLIC = (r"\log 8", r"3\log 2")
HANGS = (r"9^{9^{9^{9}}} + \log 8", "3")
EXPECTED = [
    Comparison("correct", "symbolic"),
    Comparison("unknown", "none"),
    Comparison("correct", "symbolic"),
]
PAIRS = (NEEDS_SYMBOLIC, HANGS, NEEDS_SYMBOLIC)
"""A pair that only the symbolic step decides, one that it cannot, and the first again, after that."""


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A local cluster of one CPU, without dashboard or token."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


class Grader:
    """Grades one pair a call, as an actor's method, and tells who it is."""

    def compare(self, predicted: str, gold: str) -> Comparison:
        assert equal("5", "5.0").verdict == "correct"
        return equal(predicted, gold)

    def pid(self) -> int:
        return os.getpid()

    def thread(self) -> bool:
        return threading.current_thread() is threading.main_thread()


class AsyncGrader:
    """The same on an event loop: directly, which blocks it, and in a thread."""

    async def compare(self, predicted: str, gold: str) -> Comparison:
        return equal(predicted, gold)

    async def compare_in_thread(self, predicted: str, gold: str) -> Comparison:
        return await asyncio.to_thread(equal, predicted, gold)

    async def pid(self) -> int:
        return os.getpid()


@pytest.mark.slow
def test_an_actor_compares_gives_up_and_lives_on(ray: Any) -> None:
    actor = ray.remote(num_cpus=0.1)(Grader).remote()
    pid = ray.get(actor.pid.remote())
    assert [ray.get(actor.compare.remote(*pair), timeout=120) for pair in PAIRS] == EXPECTED
    assert ray.get(actor.pid.remote()) == pid
    ray.kill(actor)


@pytest.mark.slow
def test_a_threaded_actor_compares_off_its_main_thread(ray: Any) -> None:
    actor = ray.remote(num_cpus=0.1, max_concurrency=4)(Grader).remote()
    pid = ray.get(actor.pid.remote())
    assert not ray.get(actor.thread.remote())
    results = ray.get([actor.compare.remote(*NEEDS_SYMBOLIC) for _ in range(8)], timeout=120)
    assert results == [EXPECTED[0]] * 8
    assert ray.get(actor.compare.remote(*HANGS), timeout=120) == EXPECTED[1]
    assert ray.get(actor.pid.remote()) == pid
    ray.kill(actor)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["compare", "compare_in_thread"])
def test_an_async_actor_compares_gives_up_and_lives_on(ray: Any, method: str) -> None:
    actor = ray.remote(num_cpus=0.1)(AsyncGrader).remote()
    pid = ray.get(actor.pid.remote())
    compare = getattr(actor, method)
    assert [ray.get(compare.remote(*pair), timeout=120) for pair in PAIRS] == EXPECTED
    assert ray.get(actor.pid.remote()) == pid
    ray.kill(actor)


def test_asyncio_stays_responsive_while_a_thread_waits_for_a_hanging_pair() -> None:
    async def both() -> tuple[list[Comparison], int]:
        ticks, waiting = 0, asyncio.create_task(asyncio.to_thread(lambda: [equal(*pair) for pair in PAIRS]))
        while not waiting.done():
            await asyncio.sleep(0.05)
            ticks += 1
        return await waiting, ticks

    results, ticks = asyncio.run(both())
    assert results == EXPECTED
    assert ticks > 5


def test_a_thread_that_is_not_the_main_one_gives_up_and_goes_on() -> None:
    results: list[Comparison] = []
    thread = threading.Thread(target=lambda: results.extend(equal(*pair) for pair in PAIRS))
    thread.start()
    thread.join(120)
    assert results == EXPECTED
