"""The governor: rates, money and slots of the whole cluster, leased to the workers in slices.

`Governor` is plain Python under an injected clock; `start_governor` puts it behind a named Ray actor.
Workers report cumulative counters with each lease, and the governor writes down what it has heard, so one
that was restarted knows what they have spent, those that died before it included.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from metamath_ray.teacher._demands import LEASE_S, Counters, Demand, GovernorStatus, Lease
from metamath_ray.teacher._memory import load_memory, save_memory
from metamath_ray.teacher._options import TeacherOptions
from metamath_ray.teacher._rates import RateLimit

logger = logging.getLogger(__name__)

_FORGET_WORKER_AFTER_S = 30.0
_SETTLE_S = 2.0  # after a restart: every worker with a call in flight has reported by then
_SAVE_EVERY_S = 1.0
_TOKENS_A_CALL_AT_FIRST = 1_000.0
_CALLS_OF_UNKNOWN_PRICE = 4


@dataclass
class _Worker:
    demand: Demand
    seen: float
    slots: int = 0
    granted: int = 0  # since its last report: neither running nor settled as far as we know


@dataclass
class Governor:
    """Rates, money and slots for all workers. Not safe for threads; the actor runs one call at a time.

    `memory` is a file that survives the governor; it is read where `restarted` says that this governor takes
    the place of one that died.
    """

    options: TeacherOptions
    budget_usd: float | None = None
    spent_usd_before: float = 0.0
    clock: Callable[[], float] = time.monotonic
    memory: Path | None = None
    restarted: bool = False
    _workers: dict[str, _Worker] = field(default_factory=dict, init=False)
    _counters: dict[str, Counters] = field(default_factory=dict, init=False)
    _total: Counters = field(default_factory=Counters, init=False)
    _verdicts: Counter[str] = field(default_factory=Counter, init=False)
    _stop: str | None = field(default=None, init=False)
    _paused_until: float = field(default=-1e9, init=False)
    _slowed_at: float = field(default=-1e9, init=False)
    _saved_at: float = field(default=-1e9, init=False)
    _charged_tokens: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Start with empty buckets: what came before a restart is not known."""
        now = self.clock()
        self._requests = RateLimit(self.options.rpm, LEASE_S, now) if self.options.rpm else None
        self._tokens = RateLimit(self.options.tpm, LEASE_S, now) if self.options.tpm else None
        self._settles_at = now + _SETTLE_S if self.restarted else now
        if self.restarted and self.memory is not None:
            self._counters, self._stop = load_memory(self.memory)
            for counters in self._counters.values():
                self._total = self._total.plus(counters)
            self._charged_tokens = self._total.tokens
            logger.warning("the governor was restarted after %d calls", self._total.calls_made)

    def lease(self, worker: str, demand: Demand) -> Lease:
        """Take a worker's report and give it its next slice."""
        now = self.clock()
        me = self._note(worker, demand, now)
        affordable = self._affordable_calls()
        if affordable == 0 and self._stop is None and self._num_outstanding() == 0:
            self.stop(f"the budget of {self.budget_usd} USD is spent")
        if self._stop is not None:
            return Lease(0, 0, 0.0, self._stop)
        self._refill(now)
        settles_s = max(0.0, self._settles_at - now)
        me.slots = self._slots(worker) if settles_s == 0 else demand.in_flight
        pause_s = max(settles_s, self._paused_until - now, 0.0)
        if pause_s == 0 and me.slots > 0:
            me.granted = self._grant(min(demand.waiting, demand.wanted, affordable, self._rate_share(demand)))
        return Lease(me.granted, me.slots, pause_s)

    def stop(self, reason: str) -> None:
        """Stop the run: every worker learns `reason` with its next lease. The first reason stays."""
        self._stop = self._stop or reason
        self._remember()

    def status(self) -> GovernorStatus:
        """What the run has done so far."""
        demands = [worker.demand for worker in self._workers.values()]
        return GovernorStatus(
            counters=self._total,
            in_flight=sum(demand.in_flight for demand in demands),
            waiting=sum(demand.waiting for demand in demands),
            stop=self._stop,
            verdicts=dict(self._verdicts),
        )

    def add_verdicts(self, counts: Mapping[str, int]) -> None:
        """Count graded paths for the progress line; a restart begins again, the summary counts the rows."""
        self._verdicts.update(counts)

    def _note(self, worker: str, demand: Demand, now: float) -> _Worker:
        for name, other in list(self._workers.items()):
            if now - other.seen > _FORGET_WORKER_AFTER_S and name != worker:
                del self._workers[name]  # it died: its slots are free, what it spent stays spent
        me = self._workers.setdefault(worker, _Worker(demand, now))
        if self._requests is not None and (unused := min(demand.unused, me.granted)):
            self._requests.give_back(unused, charged_at=me.seen)
        me.demand, me.seen, me.granted = demand, now, 0
        self._count(worker, demand.counters, now)
        if demand.retry_after_s is not None:
            self._slow_down(demand.retry_after_s, now)
        return me

    def _count(self, worker: str, counters: Counters, now: float) -> None:
        if worker not in self._counters:  # a restart forgot it: no debt of this minute's
            self._charged_tokens += counters.tokens
        self._total = self._total.plus(counters).minus(self._counters.get(worker, Counters()))
        self._counters[worker] = counters
        if now - self._saved_at >= _SAVE_EVERY_S:
            self._saved_at = now
            self._remember()

    def _remember(self) -> None:
        if self.memory is not None:
            save_memory(self.memory, self._counters, self._stop)

    def _slow_down(self, retry_after_s: float, now: float) -> None:
        self._paused_until = max(self._paused_until, now + retry_after_s)
        if now - self._slowed_at >= 1.0:  # one step a second, however many workers tell of the same limit
            self._slowed_at = now
            for limit in self._limits():
                limit.factor = max(0.05, limit.factor * 0.8)

    def _limits(self) -> list[RateLimit]:
        return [limit for limit in (self._requests, self._tokens) if limit is not None]

    def _refill(self, now: float) -> None:
        for limit in self._limits():
            limit.factor = min(1.0, limit.factor + 0.02 * max(0.0, min(now - limit.now, 1.0)))
            limit.refill(now)
        if self._tokens is not None:
            charge = self._total.tokens + self._tokens_a_call() * self._num_outstanding()
            more = charge - self._charged_tokens
            if more > 0:
                self._tokens.charge(more)
            else:
                self._tokens.give_back(-more, charged_at=now)
            self._charged_tokens = charge

    def _num_outstanding(self) -> int:
        return sum(worker.demand.in_flight + worker.granted for worker in self._workers.values())

    def _tokens_a_call(self) -> float:
        if self._total.calls_made < 1:
            return _TOKENS_A_CALL_AT_FIRST
        return max(1.0, self._total.tokens / self._total.calls_made)

    def _rate_share(self, demand: Demand) -> int:
        """No worker takes more at a time than its share of a lease's worth, so that none starves another."""
        if self._requests is None:
            return demand.wanted
        waiting = sum(worker.demand.waiting for worker in self._workers.values())
        return max(1, int(self._requests.refill_per_s * LEASE_S * demand.waiting / max(1, waiting)))

    def _grant(self, wanted: int) -> int:
        a_call = self._tokens_a_call()
        if self._requests is not None:
            wanted = min(wanted, self._requests.room_for(1.0))
        if self._tokens is not None:
            wanted = min(wanted, self._tokens.room_for(a_call))
        if wanted > 0 and self._requests is not None:
            self._requests.charge(wanted)
        if wanted > 0 and self._tokens is not None:
            self._tokens.charge(wanted * a_call)
            self._charged_tokens += wanted * a_call
        return wanted

    def _slots(self, worker: str) -> int:
        """Max-min fair share of `max_in_flight`, less what the others still hold or run."""
        needs = {name: w.demand.waiting + w.demand.in_flight for name, w in self._workers.items()}
        fair = _fair_share(needs, self.options.max_in_flight)[worker]
        held = sum(max(w.slots, w.demand.in_flight) for name, w in self._workers.items() if name != worker)
        return max(0, min(fair, self.options.max_in_flight - held))

    def _affordable_calls(self) -> int:
        """Calls that the budget has room for beside those in flight, at the mean price so far."""
        if self.budget_usd is None:
            return self.options.max_in_flight
        left_usd = self.budget_usd - self.spent_usd_before - self._total.usd
        if left_usd <= 0:
            return 0
        if self._total.calls_made == 0:
            return max(0, _CALLS_OF_UNKNOWN_PRICE - self._num_outstanding())
        a_call = self._total.usd / self._total.calls_made
        left = left_usd / a_call - self._num_outstanding() if a_call > 0 else self.options.max_in_flight
        return max(0, min(int(left), self.options.max_in_flight))


def _fair_share(needs: dict[str, int], capacity: int) -> dict[str, int]:
    """Split `capacity` so that nobody gets more than it needs and the smallest needs are met first."""
    shares, left = dict.fromkeys(needs, 0), capacity
    waiting = sorted(needs.items(), key=lambda item: (item[1], item[0]))
    while waiting and left > 0:
        name, need = waiting.pop(0)
        shares[name] = min(need, -(-left // (len(waiting) + 1)))
        left -= shares[name]
    return shares
