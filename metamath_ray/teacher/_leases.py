"""A worker's side of the governor: starts calls within its lease and reports while any runs or waits."""

import asyncio
import collections
import contextlib
import time
import uuid
from collections.abc import Callable, Mapping

from metamath_ray.teacher._demands import LEASE_S, Counters, Demand, Lease
from metamath_ray.teacher._handles import GovernorHandle
from metamath_ray.teacher._places import Place, could_start

_SPACING_S = 0.02  # between two reports
_LONGEST_PAUSE_S = 5.0  # between two reports of a worker whose endpoints all pause


class TeacherStoppedError(Exception):
    """The run was stopped (budget, key, quota, silent teacher); the reason is its text."""


class LeaseHolder:
    """Lets at most the leased number of calls start; lives on one event loop.

    `acquire` waits for a place and gives the endpoint's number, or raises `TeacherStoppedError` once the run is
    stopped; `release` gives the place back. A governor that is lost for good fails everything that waits with
    its error.
    """

    def __init__(
        self,
        governor: GovernorHandle,
        *,
        num_endpoints: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._governor = governor
        self._clock = clock
        self._id = uuid.uuid4().hex
        self._waiters: collections.deque[asyncio.Future[int]] = collections.deque()
        self._places = [Place(clock()) for _ in range(num_endpoints)]
        self._in_flight = 0
        self._lease = Lease(())
        self._expires = 0.0
        self._loop_task: asyncio.Task[None] | None = None
        self._short = asyncio.Event()
        self._urgent = asyncio.Event()
        self._renewing = asyncio.Lock()
        self._was_met = True
        self._sums: dict[str, float] = {}

    @property
    def counters(self) -> Counters:
        """What was counted since the start."""
        return Counters(**self._sums)  # type: ignore[arg-type]  # whole numbers stay whole

    async def acquire(self) -> int:
        """Wait for the right to start one call; gives the number of the endpoint that is to get it."""
        if self._lease.stop is not None:
            raise TeacherStoppedError(self._lease.stop)
        if not self._waiters and (at := self._free_place()) is not None:
            self._start(at)
            return at
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._ask_for_more()
        self._keep_reporting()
        try:
            return await waiter
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)
            if not waiter.cancelled() and waiter.exception() is None:  # given, but its caller is gone
                self.release(waiter.result())
            raise

    def release(self, at: int) -> None:
        """The call at endpoint `at` has ended, well or not."""
        place = self._places[at]
        place.in_flight -= 1
        place.rate.done += 1
        self._in_flight -= 1
        if self._waiters:
            self._dispatch()
            self._ask_for_more()

    def hand_back(self, at: int) -> None:
        """Start nothing more of this lease at endpoint `at`."""
        self._places[at].hand_back()

    def count(self, **changes: float) -> None:
        """Add to this worker's counters."""
        for name, change in changes.items():
            self._sums[name] = self._sums.get(name, 0) + change

    def bill(self, at: int, tokens: int) -> None:
        """Count an answered call and its tokens against the limits of its endpoint."""
        place = self._places[at]
        place.calls += 1
        place.tokens += tokens
        place.tokens_squared += tokens * tokens
        place.on_trial = False

    def see_headers(self, at: int, headers: Mapping[str, str]) -> None:
        """Keep the newest headers; the limits in them go with the next report."""
        self._places[at].headers = headers

    def throttled(self, at: int, retry_after_s: float | None) -> None:
        """Tell the whole cluster at once that the endpoint asked for less."""
        place = self._places[at]
        place.retry_after_s = max(place.retry_after_s or 0.0, retry_after_s or 0.0)
        self._short.set()
        self._urgent.set()
        self._keep_reporting()

    def avoid(self, at: int, seconds: float) -> None:
        """Send what waits elsewhere, if there is an elsewhere, for a while; then one call, until one is answered."""
        if len(self._places) == 1:
            return
        place = self._places[at]
        place.avoid_until = max(place.avoid_until, self._clock() + seconds)
        place.on_trial = True
        place.hand_back()

    async def take_out(self, at: int, reason: str) -> str | None:
        """Use an endpoint no more, in the whole cluster; gives the reason of the run's end if it was the last."""
        self._places[at].hand_back()
        stop = await self._governor.take_out(at, reason)
        if stop is not None:
            self._refuse(stop)
        return stop

    async def report(self) -> None:
        """Send the counters as they are, so that none is missing after the last call."""
        await self._renew()

    def _free_place(self) -> int | None:
        """The endpoint with the most free capacity."""
        if self._clock() >= self._expires:
            return None
        best, most = None, 0
        for at, place in enumerate(self._places):
            if (free := place.free) > most:
                best, most = at, free
        return best

    def _start(self, at: int) -> None:
        self._places[at].left -= 1
        self._places[at].in_flight += 1
        self._in_flight += 1
        self._keep_reporting()

    def _dispatch(self) -> None:
        while self._waiters and (at := self._free_place()) is not None:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._start(at)
                waiter.set_result(at)

    def _ask_for_more(self) -> None:
        """A report at once, if it is for want of a lease that something waits, not for want of slots."""
        if not self._waiters or self._short.is_set():
            return
        num_slots = sum(place.slots for place in self._places)
        if self._in_flight < max(num_slots, 1) and self._free_place() is None:
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
            if was_idle and not self._waiters and not self._in_flight and not self._urgent.is_set():
                return
            await asyncio.sleep(max(0.0, _SPACING_S - (self._clock() - started)))
            await self._rest()

    async def _rest(self) -> None:
        """Until a report may bring something: it is never asked for more often than the governor said."""
        lease = self._lease
        wakes, wait_s = self._short, max(LEASE_S / 2, lease.again_s / 2)
        if not self._was_met:
            pause_s = min(lease.pause_s, _LONGEST_PAUSE_S)
            wakes, wait_s = self._urgent, pause_s + lease.again_s
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wakes.wait(), wait_s)

    async def _renew(self) -> Demand:
        async with self._renewing:  # one at a time: a later one would take the other's lease for its own
            asked_at = self._clock()
            self._short.clear()
            self._urgent.clear()
            reports = tuple(place.report(asked_at) for place in self._places)
            demand = Demand(len(self._waiters), reports, self.counters)
            lease = self._lease = await self._governor.lease(self._id, demand)
            self._expires = asked_at + LEASE_S
            for place, share in zip(self._places, lease.shares, strict=True):
                place.take(share)
            could = sum(could_start(*pair) for pair in zip(lease.shares, reports, strict=True))
            self._was_met = lease.pause_s == 0 and lease.requests >= min(demand.waiting, could)
        self._dispatch()
        return demand

    def _fail_waiters(self, loop_task: asyncio.Task[None]) -> None:
        if loop_task.cancelled() or (error := loop_task.exception()) is None:
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def _refuse(self, reason: str) -> None:
        self._lease = Lease((), stop=reason)
        for place in self._places:
            place.left = 0
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(TeacherStoppedError(reason))
