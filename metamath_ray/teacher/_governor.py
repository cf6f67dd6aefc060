"""The governor: rates, money and slots of the whole cluster, leased to the workers in slices.

`Governor` is plain Python under an injected clock; `start_governor` puts it behind a named Ray actor.
Workers report cumulative counters with each lease, so a governor that was restarted knows again, after one
report of each, what they have spent.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from metamath_ray.teacher._options import TeacherOptions
from metamath_ray.teacher._rates import RateLimit

logger = logging.getLogger(__name__)

LEASE_S = 0.5
_FORGET_WORKER_AFTER_S = 30.0
_TOKENS_A_CALL_AT_FIRST = 1_000.0


@dataclass(frozen=True, slots=True)
class Counters:
    """What one worker has done since it started; sums, never differences."""

    calls_made: int = 0
    calls_reused: int = 0
    calls_failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    http_429: int = 0
    retries: int = 0
    fewer_samples_than_asked: int = 0

    def plus(self, other: "Counters") -> "Counters":
        """The sum, field by field."""
        return Counters(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def minus(self, other: "Counters") -> "Counters":
        """The difference, field by field."""
        return Counters(*(getattr(self, name) - getattr(other, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class Demand:
    """A worker's report: what waits and what runs there, and its counters so far.

    `wanted` is how many requests it can start within a lease, `unused` how many of its last lease it
    did not start and gives back.
    """

    waiting: int
    in_flight: int
    wanted: int = 0
    unused: int = 0
    counters: Counters = Counters()
    retry_after_s: float | None = None  # set once after a 429 or 503: 0.0 where the server named no time


@dataclass(frozen=True, slots=True)
class Lease:
    """What a worker may start now: `requests` within `LEASE_S`, never more than `slots` running at once."""

    requests: int
    slots: int
    pause_s: float
    stop: str | None = None


@dataclass(frozen=True, slots=True)
class GovernorStatus:
    """The run's counters over all workers, for the progress line and the summary."""

    counters: Counters
    in_flight: int
    waiting: int
    stop: str | None


@dataclass
class _Worker:
    demand: Demand
    seen: float
    slots: int = 0
    granted: int = 0  # since its last report: neither running nor settled as far as we know


@dataclass
class Governor:
    """Rates, money and slots for all workers. Not safe for threads; the actor runs one call at a time."""

    options: TeacherOptions
    budget_usd: float | None = None
    spent_usd_before: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _workers: dict[str, _Worker] = field(default_factory=dict, init=False)
    _counters: dict[str, Counters] = field(default_factory=dict, init=False)
    _total: Counters = field(default_factory=Counters, init=False)
    _stop: str | None = field(default=None, init=False)
    _paused_until: float = field(default=0.0, init=False)
    _slowed_at: float = field(default=-1e9, init=False)
    _charged_tokens: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Start with empty buckets: what came before a restart is not known."""
        now = self.clock()
        self._requests = RateLimit(self.options.rpm, LEASE_S, now) if self.options.rpm else None
        self._tokens = RateLimit(self.options.tpm, LEASE_S, now) if self.options.tpm else None

    def lease(self, worker: str, demand: Demand) -> Lease:
        """Take a worker's report and give it its next slice."""
        now = self.clock()
        me = self._note(worker, demand, now)
        if self._stop is None and self._budget_is_spent():
            self._stop = f"the budget of {self.budget_usd} USD is spent"
        if self._stop is not None:
            return Lease(0, 0, 0.0, self._stop)
        self._refill(now)
        me.slots = self._slots(worker)
        pause_s = max(0.0, self._paused_until - now)
        if pause_s == 0 and me.slots > demand.in_flight:
            me.granted = self._grant(min(demand.waiting, demand.wanted))
        return Lease(me.granted, me.slots, pause_s)

    def stop(self, reason: str) -> None:
        """Stop the run: every worker learns `reason` with its next lease. The first reason stays."""
        self._stop = self._stop or reason

    def status(self) -> GovernorStatus:
        """What the run has done so far."""
        demands = [worker.demand for worker in self._workers.values()]
        return GovernorStatus(
            counters=self._total,
            in_flight=sum(demand.in_flight for demand in demands),
            waiting=sum(demand.waiting for demand in demands),
            stop=self._stop,
        )

    def _note(self, worker: str, demand: Demand, now: float) -> _Worker:
        for name, other in list(self._workers.items()):
            if (
                now - other.seen > _FORGET_WORKER_AFTER_S
            ):  # died: its slots are free, what it spent stays spent
                del self._workers[name]
        me = self._workers.setdefault(worker, _Worker(demand, now))
        if self._requests is not None:
            self._requests.debit(-min(demand.unused, me.granted))
        me.demand, me.seen, me.granted = demand, now, 0
        self._total = self._total.plus(demand.counters).minus(self._counters.get(worker, Counters()))
        self._counters[worker] = demand.counters
        if demand.retry_after_s is not None:
            self._slow_down(demand.retry_after_s, now)
        return me

    def _slow_down(self, retry_after_s: float, now: float) -> None:
        self._paused_until = max(self._paused_until, now + retry_after_s)
        if (
            now - self._slowed_at >= 1.0
        ):  # one step back a second, however many workers tell of the same limit
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
            used = self._total.prompt_tokens + self._total.completion_tokens
            charge = used + self._tokens_a_call() * self._num_outstanding()
            self._tokens.debit(charge - self._charged_tokens)
            self._charged_tokens = charge

    def _num_outstanding(self) -> int:
        return sum(worker.demand.in_flight + worker.granted for worker in self._workers.values())

    def _tokens_a_call(self) -> float:
        if self._total.calls_made < 1:
            return _TOKENS_A_CALL_AT_FIRST
        return (self._total.prompt_tokens + self._total.completion_tokens) / self._total.calls_made

    def _grant(self, wanted: int) -> int:
        a_call = self._tokens_a_call()
        if self._tokens is not None:  # one call may run into debt, so that a small limit never starves
            level = self._tokens.level
            wanted = min(wanted, max(int(level // a_call), 1 if level > 0 else 0))
        if self._requests is not None:
            wanted = self._requests.grant(wanted)
        if self._tokens is not None:
            self._tokens.debit(wanted * a_call)
            self._charged_tokens += wanted * a_call
        return wanted

    def _slots(self, worker: str) -> int:
        """Max-min fair share of `max_in_flight`, less what the others still hold or run."""
        needs = {name: w.demand.waiting + w.demand.in_flight for name, w in self._workers.items()}
        fair = _fair_share(needs, self.options.max_in_flight)[worker]
        held = sum(
            max(min(w.slots, needs[name]), w.demand.in_flight)
            for name, w in self._workers.items()
            if name != worker
        )
        return max(0, min(fair, self.options.max_in_flight - held))

    def _budget_is_spent(self) -> bool:
        if self.budget_usd is None:
            return False
        a_call = self._total.usd / self._total.calls_made if self._total.calls_made else 0.0
        return self.spent_usd_before + self._total.usd + a_call * self._num_outstanding() >= self.budget_usd


def _fair_share(needs: dict[str, int], capacity: int) -> dict[str, int]:
    """Split `capacity` so that nobody gets more than it needs and the smallest needs are met first."""
    shares, left = dict.fromkeys(needs, 0), capacity
    waiting = sorted(needs.items(), key=lambda item: (item[1], item[0]))
    while waiting and left > 0:
        name, need = waiting.pop(0)
        shares[name] = min(need, -(-left // (len(waiting) + 1)))
        left -= shares[name]
    return shares


class GovernorHandle(Protocol):
    """What a worker needs of the governor, wherever it lives."""

    async def lease(self, worker: str, demand: Demand) -> Lease:
        """See `Governor.lease`."""
        ...

    async def stop(self, reason: str) -> None:
        """See `Governor.stop`."""
        ...


@dataclass(frozen=True)
class LocalGovernor:
    """A governor in the worker's own process, for one process and for tests."""

    governor: Governor

    async def lease(self, worker: str, demand: Demand) -> Lease:
        """See `Governor.lease`."""
        return self.governor.lease(worker, demand)

    async def stop(self, reason: str) -> None:
        """See `Governor.stop`."""
        self.governor.stop(reason)


@dataclass(frozen=True)
class RayGovernor:
    """The governor behind its named Ray actor; calls wait while Ray restarts it."""

    actor: Any

    async def lease(self, worker: str, demand: Demand) -> Lease:
        """See `Governor.lease`."""
        lease: Lease = await self.actor.lease.remote(worker, demand)
        return lease

    async def stop(self, reason: str) -> None:
        """See `Governor.stop`."""
        await self.actor.stop.remote(reason)

    def status(self) -> GovernorStatus:
        """See `Governor.status`; blocks for the answer."""
        import ray

        status: GovernorStatus = ray.get(self.actor.status.remote())
        return status

    def close(self) -> None:
        """End the actor."""
        import ray

        ray.kill(self.actor)


def start_governor(
    options: TeacherOptions, *, run_id: str, budget_usd: float | None, spent_usd: float
) -> RayGovernor:
    """Start the run's governor as a named actor that Ray restarts when it dies."""
    import ray

    actor = ray.remote(Governor).options(
        name=f"metamath_ray.governor.{run_id}", num_cpus=0, max_restarts=-1, max_task_retries=-1
    )
    return RayGovernor(actor.remote(options, budget_usd, spent_usd))
