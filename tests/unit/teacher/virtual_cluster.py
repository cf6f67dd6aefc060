"""Clusters of workers in simulated time, and the most that any window of 60 s of theirs holds."""

import asyncio
import bisect
import heapq
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from metamath_ray.teacher import Governor, LocalGovernor, TeacherOptions, resolve_endpoints
from metamath_ray.teacher._demands import LEASE_S, Demand, EndpointReport
from metamath_ray.teacher._leases import LeaseHolder
from metamath_ray.teacher._memory import SavedState


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that sleeps in no time: where nothing is to do, its clock jumps."""

    def __init__(self) -> None:
        self.now = 1000.0
        loop = self

        class Selector(selectors.DefaultSelector):
            def select(self, timeout: float | None = None) -> Any:
                events = super().select(0)
                if not events and timeout:
                    loop.now += timeout
                return events

        super().__init__(Selector())

    def time(self) -> float:
        return self.now


def run_virtually(main: Callable[[VirtualLoop], Coroutine[Any, Any, Any]]) -> Any:
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def most_in_a_window(times: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """The most that any closed window of 60 s holds; `times` ascend."""
    if not len(times):
        return 0.0
    sums = np.concatenate([[0.0], np.cumsum(np.ones(len(times)) if weights is None else np.asarray(weights))])
    ends = np.searchsorted(times, np.asarray(times) + 60.0, side="right")
    return float((sums[ends] - sums[:-1]).max())


@dataclass
class Load:
    """Workers with the real lease holders that always have more to ask than they may."""

    options: TeacherOptions
    num_workers: int
    callers_a_worker: int
    duration_s: tuple[float, float] = (0.2, 2.0)
    tokens: tuple[int, int] = (100, 100)
    starts: list[float] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    spent_tokens: list[float] = field(default_factory=list)
    by_worker: list[int] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    def run(self, seconds: float) -> None:
        run_virtually(lambda loop: self._run(loop, seconds))

    async def _run(self, loop: VirtualLoop, seconds: float) -> None:
        governor = LocalGovernor(Governor(self.options, clock=loop.time))
        num_endpoints = len(resolve_endpoints(self.options))
        holders = [
            LeaseHolder(governor, num_endpoints=num_endpoints, clock=loop.time)
            for _ in range(self.num_workers)
        ]
        self.by_worker = [0] * self.num_workers
        calls = [
            asyncio.create_task(self._call(loop, holder, number, random.Random(f"{number}/{caller}")))
            for number, holder in enumerate(holders)
            for caller in range(self.callers_a_worker)
        ]
        await asyncio.wait(calls, timeout=seconds)

    async def _call(self, loop: VirtualLoop, holder: LeaseHolder, number: int, chance: random.Random) -> None:
        while True:
            at = await holder.acquire()
            self.starts.append(loop.time())
            self.places.append(at)
            self.by_worker[number] += 1
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            tokens = chance.randint(*self.tokens)
            self.spent_tokens.append(tokens)
            await asyncio.sleep(chance.uniform(*self.duration_s))
            self.in_flight -= 1
            holder.count(calls_made=1, prompt_tokens=tokens)
            holder.bill(at, tokens)
            holder.release(at)

    def rate_behind(self, begin: float, end: float, weights: list[float] | None = None) -> float:
        """Calls (or their weights) a minute between two times since the start."""
        pairs = zip(self.starts, weights or [1.0] * len(self.starts), strict=True)
        return sum(w for at, w in pairs if begin <= at - 1000.0 < end) / (end - begin) * 60.0

    def starts_at(self, place: int) -> list[float]:
        return [time for time, at in zip(self.starts, self.places, strict=True) if at == place]


@dataclass(slots=True)
class _Saturated:
    """A worker that wants more than it gets; its calls are counted in slices, one a lease."""

    name: str
    chance: random.Random
    running: deque[tuple[float, int]] = field(default_factory=deque)  # end, calls
    in_flight: int = 0
    calls: int = 0
    last_grant: float = 0.0


@dataclass
class Crowd:
    """Saturated workers around a governor for hours: only leases are events, so an hour takes a second or two."""

    rpm: int
    tokens_a_call: int = 1_000
    tpm: int | None = None
    max_in_flight: int = 100_000
    now: float = 0.0
    times: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    waiting: int = 0
    num_leases: int = 0

    def __post_init__(self) -> None:
        options = TeacherOptions(rpm=self.rpm, tpm=self.tpm, max_in_flight=self.max_in_flight)
        self.governor = Governor(options, clock=lambda: self.now)

    def work(self, num_workers: int, seconds: float) -> tuple[list[int], float]:
        """Let so many new workers work; gives the calls of each and the longest that one waited for its next."""
        end = self.now + seconds
        self.waiting = max(40, 4_000 // num_workers)
        workers = [
            _Saturated(f"{self.now:.0f}/{n}", random.Random(f"{self.now}/{n}"), last_grant=self.now)
            for n in range(num_workers)
        ]
        events = [(self.now + w.chance.random(), at) for at, w in enumerate(workers)]
        heapq.heapify(events)
        longest = 0.0
        while events[0][0] < end:
            self.now, at = events[0]
            worker = workers[at]
            before = worker.last_grant
            wait_s = self._report(worker)
            if worker.last_grant > before:
                longest = max(longest, worker.last_grant - before)
            heapq.heapreplace(events, (self.now + wait_s, at))
        self.now = end
        for worker in workers:
            longest = max(longest, end - worker.last_grant)
            self.governor.lease(worker.name, self._demand(worker, waiting=0))
        return [worker.calls for worker in workers], longest

    def _report(self, worker: _Saturated) -> float:
        while worker.running and worker.running[0][0] <= self.now:
            worker.in_flight -= worker.running.popleft()[1]
        lease = self.governor.lease(worker.name, self._demand(worker, waiting=self.waiting))
        self.num_leases += 1
        share = lease.shares[0]
        calls = min(share.requests, share.slots - worker.in_flight)
        if calls > 0:
            started = self.now + (worker.chance.random() * LEASE_S if worker.calls % 2 else 0.0)
            worker.running.append((self.now + LEASE_S + worker.chance.uniform(0.2, 2.0), calls))
            worker.in_flight += calls
            worker.calls += calls
            worker.last_grant = self.now
            self.times.append(started)
            self.counts.append(calls)
        return lease.again_s + worker.chance.uniform(0.0, 0.05)  # its report is on the way

    def _demand(self, worker: _Saturated, *, waiting: int) -> Demand:
        settled = worker.calls - worker.in_flight
        tokens = settled * self.tokens_a_call
        report = EndpointReport(worker.in_flight, 0, 1, settled, tokens, tokens * self.tokens_a_call)
        return Demand(waiting, (report,))

    def sorted_starts(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.times, kind="stable")
        return np.asarray(self.times)[order], np.asarray(self.counts)[order]


def share_used(times: np.ndarray, counts: np.ndarray, begin: float, end: float, rpm: int) -> float:
    """The share of the allowed calls that were started between two times."""
    first, last = bisect.bisect_left(times, begin), bisect.bisect_left(times, end)
    return float(counts[first:last].sum()) / ((end - begin) / 60.0 * rpm)


class KeptState:
    """A governor's memory without a disk."""

    def __init__(self) -> None:
        self.state: SavedState | None = None

    def load(self) -> SavedState | None:
        return self.state

    def save(self, state: SavedState) -> None:
        self.state = state
