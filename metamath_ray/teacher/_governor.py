"""The governor: rates, money and slots of the whole cluster, leased to the workers in slices.

`Governor` is plain Python under an injected clock; `start_governor` puts it behind a named Ray actor.
Workers report cumulative counters with each lease, and the governor writes down what it has heard and
granted, so one that was restarted knows what was spent in the last minute, by whom, and what is still held.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from metamath_ray.teacher._accounts import UNLIMITED, CallSize, EndpointAccount
from metamath_ray.teacher._book import Book, Worker
from metamath_ray.teacher._demands import LEASE_S, Demand, GovernorStatus, Lease, Share
from metamath_ray.teacher._memory import Memory, SavedState
from metamath_ray.teacher._options import TeacherOptions, resolve_endpoints
from metamath_ray.teacher._places import could_start
from metamath_ray.teacher._rates import WINDOW_S
from metamath_ray.teacher._sharing import FairLevel, split_by_room
from metamath_ray.teacher._turns import Turns

logger = logging.getLogger(__name__)

_FORGET_WORKER_AFTER_S = 30.0
_SETTLE_S = 2.0  # after a restart without a memory: every worker with a call in flight has reported by then
_SAVE_EVERY_S = 1.0
_CALLS_OF_UNKNOWN_PRICE = 4


@dataclass
class Governor:
    """Rates, money and slots for all workers. Not safe for threads; the actor runs one call at a time.

    `memory` survives the governor. Where `restarted` says that this one takes the place of one that died, all
    of it is taken over; a new run takes over what was spent in the minute before it. Without a memory, a
    restarted governor begins as though that minute had been spent to the limits.
    """

    options: TeacherOptions
    budget_usd: float | None = None
    spent_usd_before: float = 0.0
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    memory: Memory | None = None
    restarted: bool = False
    _paths: Counter[tuple[str, str]] = field(default_factory=Counter, init=False)
    _stop: str | None = field(default=None, init=False)
    _size: CallSize = field(default_factory=CallSize, init=False)
    _turns: Turns = field(default_factory=Turns, init=False)
    _settles_at: float = field(default=-math.inf, init=False)
    _knows_workers: bool = field(default=True, init=False)
    _saved_at: float = field(default=-math.inf, init=False)
    _saved_workers: frozenset[str] = field(default=frozenset(), init=False)
    _billed_before: tuple[int, int] = field(default=(0, 0), init=False)

    def __post_init__(self) -> None:
        """Take over what the governor before it knew."""
        now = self.clock()
        self._accounts = [
            EndpointAccount(endpoint, self._size, now) for endpoint in resolve_endpoints(self.options)
        ]
        self._levels = [FairLevel() for _ in self._accounts]
        self._book = Book(self._accounts)
        state = self.memory.load() if self.memory is not None else None
        if state is not None:
            self._recall_rates(state)
            self._recall_bills(state)
        if not self.restarted:
            self._save(now)  # from now on it is this run's
            return
        if state is not None:
            self._recall_run(state, now)
        else:
            self._begin_blind(now)
        logger.warning("the governor was restarted after %d calls", self._book.total.calls_made)

    def lease(self, worker: str, demand: Demand) -> Lease:
        """Take a worker's report and give it its next slice."""
        now = self.clock()
        for account in self._accounts:
            account.refill(now)
        me = self._hear(worker, demand, now)
        for account in self._accounts:
            account.settle()
        affordable = self._affordable_calls()
        if affordable == 0 and demand.waiting and self._stop is None and self._num_outstanding() == 0:
            self.stop(f"the budget of {self.budget_usd} USD is spent")
        if self._stop is not None:
            return Lease((Share(),) * len(self._accounts), stop=self._stop)
        self._turns.num_active = self._book.num_active
        self._turns.calls_per_s = sum(account.calls_per_s() for account in self._accounts)
        settles_s = self._settles_s(now)
        self._give_slots(me, now, settling=settles_s > 0)
        if settles_s == 0 and demand.waiting:
            self._grant(me, affordable, now)
        if now - self._saved_at >= _SAVE_EVERY_S or (demand.waiting and worker not in self._saved_workers):
            self._save(now)
        shares = tuple(Share(calls, slots) for calls, slots in zip(me.granted, me.slots, strict=True))
        return Lease(shares, self._pause_s(now, settles_s), self._turns.again_s(me.turn, now))

    def stop(self, reason: str) -> None:
        """Stop the run: every worker learns `reason` with its next lease. The first reason stays."""
        self._stop = self._stop or reason
        self._save(self.clock())

    def take_out(self, endpoint: int, reason: str) -> str | None:
        """Use an endpoint no more; gives the reason of the run's end where it was the last one."""
        account = self._accounts[endpoint]
        if account.out is None:
            account.out = reason
            if len(self._accounts) == 1:
                self.stop(reason)
            elif all(other.out is not None for other in self._accounts):
                self.stop("; ".join(f"{other.endpoint.name}: {other.out}" for other in self._accounts))
            else:
                logger.warning("%s is used no more: %s", account.endpoint.name, reason)
                self._save(self.clock())
        return self._stop

    def status(self) -> GovernorStatus:
        """What the run has done so far."""
        now = self.clock()
        return GovernorStatus(
            counters=self._book.total,
            in_flight=sum(account.in_flight for account in self._accounts),
            waiting=self._book.waiting,
            stop=self._stop,
            paths=dict(self._paths),
            endpoints=tuple(account.status(now) for account in self._accounts),
        )

    def add_verdicts(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Count graded paths by augmentation and verdict; a restart begins again, the summary counts the rows."""
        self._paths.update(counts)

    def _hear(self, worker: str, demand: Demand, now: float) -> Worker:
        me = self._book.hear(worker, demand, now)
        if not demand.waiting:
            me.turn = None  # rest earns nothing
        for at, (account, report) in enumerate(zip(self._accounts, demand.endpoints, strict=True)):
            if report.retry_after_s is not None:
                account.slow_down(report.retry_after_s, now)
            if report.limits is not None:
                pause_s = account.learn(report.limits, now)
                if pause_s > self.options.give_up_after:
                    self.take_out(at, f"the teacher's limit is used up for the next {pause_s:.0f} s")
        self._book.forget_silent(now, _FORGET_WORKER_AFTER_S)
        return me

    def _give_slots(self, me: Worker, now: float, *, settling: bool) -> None:
        """Max-min fair shares of each endpoint's slots, less what the others still hold or run."""
        for at, account in enumerate(self._accounts):
            running = me.demand.endpoints[at].in_flight
            fair = self._levels[at].share(
                running + me.demand.waiting,
                of=account.capacity,
                total_need=account.needed,
                needs=lambda at=at: self._book.needs(at),  # type: ignore[misc]  # called at once
                now=now,
            )
            free = account.capacity - (account.held - max(me.slots[at], running))
            self._book.set_slots(me, at, running if settling else max(0, min(fair, free)))

    def _grant(self, me: Worker, affordable: int, now: float) -> None:
        """Give a worker its turn's calls, or those that nobody has come for, and book its next turn."""
        startable = self._startable(me)
        if not any(startable):
            return
        turns = self._turns
        if me.turn is None:
            me.turn = turns.book(min(me.demand.waiting, turns.slice), now)
        rooms = [min(n, account.room(now)) for n, account in zip(startable, self._accounts, strict=True)]
        spare = sum(account.spare(now) for account in self._accounts)
        is_due = now >= me.turn
        calls = min(me.demand.waiting, affordable, sum(rooms), turns.slice * is_due + spare)
        if calls > 0:
            me.granted = split_by_room(calls, rooms)
            for account, granted in zip(self._accounts, me.granted, strict=True):
                if granted:
                    account.grant(granted)
        left = me.demand.waiting - calls
        if is_due and calls <= 0:
            turns.put_off(min(left, turns.slice), now)
        elif is_due:
            me.turn = turns.book(min(left, turns.slice), now) if left else None

    def _startable(self, me: Worker) -> list[int]:
        """Calls that this worker could start at each endpoint within a lease; none where it avoids one of several."""
        reports = me.demand.endpoints
        is_used = [account.out is None for account in self._accounts]
        is_liked = [used and not report.avoided for used, report in zip(is_used, reports, strict=True)]
        chosen = is_liked if any(is_liked) else is_used
        return [
            could_start(Share(0, slots), report) if is_chosen else 0
            for slots, report, is_chosen in zip(me.slots, reports, chosen, strict=True)
        ]

    def _pause_s(self, now: float, settles_s: float) -> float:
        pauses = [account.paused_s(now) for account in self._accounts if account.out is None]
        return max(settles_s, min(pauses, default=0.0))

    def _num_outstanding(self) -> int:
        return sum(account.outstanding for account in self._accounts)

    def _affordable_calls(self) -> int:
        """Calls that the budget has room for beside those in flight, at the mean price so far."""
        if self.budget_usd is None:
            return UNLIMITED
        total = self._book.total
        left_usd = self.budget_usd - self.spent_usd_before - total.usd
        if left_usd <= 0:
            return 0
        if total.calls_made == 0:
            return max(0, _CALLS_OF_UNKNOWN_PRICE - self._num_outstanding())
        unbilled = self._num_outstanding() + sum(account.lost_calls for account in self._accounts)
        a_call = total.usd / total.calls_made
        left = left_usd / a_call - unbilled if a_call > 0 else UNLIMITED
        return max(0, min(int(left), UNLIMITED))

    def _settles_s(self, now: float) -> float:
        """Seconds until it is known what the workers hold that the governor before gave out at the last."""
        if now >= self._settles_at or (self._knows_workers and not self._book.unheard):
            return 0.0
        return min(LEASE_S, self._settles_at - now)

    def _save(self, now: float) -> None:
        """Write down what the next governor must know: each second, and before a worker first holds anything."""
        self._saved_at = now
        if self.memory is None:
            return
        workers = self._book.saved_workers()
        self._saved_workers = frozenset(workers)
        self.memory.save(
            SavedState(
                wall_s=self.wall(),
                stop=self._stop,
                endpoints=tuple(account.snapshot(now) for account in self._accounts),
                size=(self._size.calls, self._size.tokens, self._size.squares),
                billed_before=self._billed_before,
                sums=self._book.saved_sums(),
                workers=workers,
            )
        )

    def _recall_rates(self, state: SavedState) -> None:
        age_s = max(0.0, self.wall() - state.wall_s)
        if age_s > WINDOW_S + LEASE_S and not self.restarted:
            return
        saved = {endpoint.name: endpoint for endpoint in state.endpoints}
        for account in self._accounts:
            if (known := saved.get(account.endpoint.name)) is not None:
                account.restore_rates(known, age_s=age_s, unknown_s=min(age_s, _SAVE_EVERY_S))

    def _recall_bills(self, state: SavedState) -> None:
        """The ledger does not know replies that were billed and empty, or lost; the memory does."""
        self._billed_before = prompt, completion = state.billed_before
        if not self.restarted:
            runs = [sums.counters for sums in state.sums.values()]
            prompt += sum(counters.prompt_tokens for counters in runs)
            completion += sum(counters.completion_tokens for counters in runs)
            self._billed_before = prompt, completion
        usd = self.options.usd(prompt_tokens=prompt, completion_tokens=completion)
        self.spent_usd_before = max(self.spent_usd_before, usd)

    def _recall_run(self, state: SavedState, now: float) -> None:
        self._stop = state.stop
        self._size.calls, self._size.tokens, self._size.squares = state.size
        for account, saved in zip(self._accounts, state.endpoints, strict=True):
            account.restore_run(saved)
        self._book.restore(state, now)
        self._settles_at = now + _FORGET_WORKER_AFTER_S

    def _begin_blind(self, now: float) -> None:
        self._knows_workers = False
        self._settles_at = now + _SETTLE_S
        for account in self._accounts:
            account.fill_window()
