"""A worker's side of the governor: starts calls within its lease and reports while any runs or waits."""

import asyncio
import collections
import contextlib
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from metamath_ray.teacher._demands import LEASE_S, Counters, Demand, Lease
from metamath_ray.teacher._handles import GovernorHandle

_SPACING_S = 0.02  # between two reports of a worker whose leases are met in full
_LIMITED_SPACING_S = 0.1  # and of one that gets less than it wants: asking more often brings no more


class TeacherStoppedError(Exception):
    """The run was stopped (budget, key, quota, silent teacher); the reason is its text."""


@dataclass
class _Rate:
    """Completions a second, smoothed, to foresee how many calls a lease can use."""

    per_s: float = 0.0
    done: int = 0
    since: float = 0.0

    def foresee(self, now: float) -> int:
        if now - self.since >= LEASE_S:
            self.per_s = 0.5 * self.per_s + 0.5 * self.done / (now - self.since)
            self.done, self.since = 0, now
        return int(self.per_s * LEASE_S * 1.5) + 1


class LeaseHolder:
    """Lets at most the leased number of calls start; lives on one event loop.

    `acquire` waits for a place and raises `TeacherStoppedError` once the run is stopped; `release` gives
    the place back. A governor that is lost for good fails everything that waits with its error.
    """

    def __init__(self, governor: GovernorHandle, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._governor = governor
        self._clock = clock
        self._id = uuid.uuid4().hex
        self._waiters: collections.deque[asyncio.Future[None]] = collections.deque()
        self._in_flight = 0
        self._left = 0
        self._lease = Lease(0, 0, 0.0)
        self._expires = 0.0
        self._rate = _Rate(since=self._clock())
        self._loop_task: asyncio.Task[None] | None = None
        self._short = asyncio.Event()
        self._renewing = asyncio.Lock()
        self._retry_after_s: float | None = None
        self._was_met = True
        self.counters = Counters()

    async def acquire(self) -> None:
        """Wait for the right to start one call."""
        if self._lease.stop is not None:
            raise TeacherStoppedError(self._lease.stop)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._dispatch()
        self._ask_for_more()
        self._keep_reporting()
        try:
            await waiter
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)
            if not waiter.cancelled() and waiter.exception() is None:  # given, but its caller is gone
                self.release()
            raise

    def release(self) -> None:
        """The call has ended, well or not."""
        self._in_flight -= 1
        self._rate.done += 1
        self._dispatch()
        self._ask_for_more()

    def count(self, **changes: float) -> None:
        """Add to this worker's counters."""
        self.counters = replace(
            self.counters, **{name: getattr(self.counters, name) + change for name, change in changes.items()}
        )

    def throttled(self, retry_after_s: float | None) -> None:
        """Tell the whole cluster with the next report that the server asked for less."""
        self._retry_after_s = max(self._retry_after_s or 0.0, retry_after_s or 0.0)
        self._short.set()
        self._keep_reporting()

    async def stop(self, reason: str) -> None:
        """Stop the run for every worker."""
        await self._governor.stop(reason)
        self._refuse(reason)

    async def report(self) -> None:
        """Send the counters as they are, so that none is missing after the last call."""
        await self._renew()

    def _dispatch(self) -> None:
        while self._waiters and self._may_start() > 0 and self._in_flight < self._lease.slots:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._left -= 1
                self._in_flight += 1
                waiter.set_result(None)

    def _may_start(self) -> int:
        """None after a 429, until the governor says how it goes on; what is left is given back."""
        return 0 if self._retry_after_s is not None or self._clock() >= self._expires else self._left

    def _ask_for_more(self) -> None:
        if self._waiters and self._may_start() <= 0 and self._in_flight < max(self._lease.slots, 1):
            self._short.set()

    def _keep_reporting(self) -> None:
        if self._loop_task is None or self._loop_task.done():
            self._loop_task = asyncio.create_task(self._report_while_busy())
            self._loop_task.add_done_callback(self._fail_waiters)

    async def _report_while_busy(self) -> None:
        """Report until the governor has heard that nothing waits or runs here."""
        while True:
            started = self._clock()
            sent = await self._renew()
            if self._lease.stop is not None:
                self._refuse(self._lease.stop)
            was_idle = not sent.waiting and not sent.in_flight
            if was_idle and not self._waiters and not self._in_flight and self._retry_after_s is None:
                return
            wait_s = self._lease.pause_s if 0 < self._lease.pause_s < LEASE_S / 2 else LEASE_S / 2
            spacing_s = _SPACING_S if self._was_met else _LIMITED_SPACING_S * random.uniform(0.5, 1.5)
            await asyncio.sleep(max(0.0, spacing_s - (self._clock() - started)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._short.wait(), wait_s)
            self._short.clear()

    async def _renew(self) -> Demand:
        async with (
            self._renewing
        ):  # one report at a time: a later one would take the other's lease for its own
            asked_at = self._clock()
            demand = self._demand(asked_at)
            self._left, self._retry_after_s = 0, None  # given back with this report
            self._lease = await self._governor.lease(self._id, demand)
            self._left, self._expires = self._lease.requests, asked_at + LEASE_S
            self._was_met = self._left >= demand.wanted
        self._dispatch()
        return demand

    def _demand(self, now: float) -> Demand:
        free = self._lease.slots - self._in_flight if self._lease.slots else len(self._waiters)
        return Demand(
            waiting=len(self._waiters),
            in_flight=self._in_flight,
            wanted=min(len(self._waiters), max(0, free) + self._rate.foresee(now)),
            unused=self._left,
            counters=self.counters,
            retry_after_s=self._retry_after_s,
        )

    def _fail_waiters(self, loop_task: asyncio.Task[None]) -> None:
        if loop_task.cancelled() or (error := loop_task.exception()) is None:
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def _refuse(self, reason: str) -> None:
        self._lease = Lease(0, 0, 0.0, reason)
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(TeacherStoppedError(reason))
