"""The governor's book of workers: what each waits for, runs, holds and has spent, and the sums over all."""

from dataclasses import dataclass

from metamath_ray.teacher._accounts import EndpointAccount
from metamath_ray.teacher._demands import Counters, Demand, EndpointReport
from metamath_ray.teacher._memory import SavedState, SavedSums, SavedWorker

_NOTHING = SavedSums(Counters(), ())


@dataclass(slots=True)
class Worker:
    """A worker that lives, as far as is known."""

    demand: Demand
    seen: float
    slots: list[int]
    granted: list[int]  # since its last report: neither running nor settled as far as we know
    turn: float | None = None  # when it may have its next calls; None where it is not in the queue


class Book:
    """Workers by name, the longest silent first; sums are kept up, so that a report costs the same in any crowd."""

    def __init__(self, accounts: list[EndpointAccount]) -> None:
        self.workers: dict[str, Worker] = {}
        self.total = Counters()
        self.waiting = 0
        self.num_active = 0  # workers in which calls wait
        self.unheard: set[str] = set()  # those that a restart has not heard of again
        self._sums: dict[str, SavedSums] = {}  # of all that ever reported
        self._accounts = accounts

    def hear(self, name: str, demand: Demand, now: float) -> Worker:
        """Take in a report; what the worker gives back is free again."""
        me = self.workers.pop(name, None) or self._new_worker(now)
        self._add(me, -1)
        for account, report, granted in zip(self._accounts, demand.endpoints, me.granted, strict=True):
            account.take_back(min(report.unused, granted), granted_at=me.seen)
        me.demand, me.seen, me.granted = demand, now, [0] * len(self._accounts)
        self.workers[name] = me
        self.unheard.discard(name)
        self._add(me, 1)
        self._count(name, demand)
        return me

    def forget_silent(self, now: float, patience_s: float) -> None:
        """A worker that says nothing has died: its slots are free, what it spent stays spent."""
        while self.workers:
            name, worker = next(iter(self.workers.items()))
            if now - worker.seen <= patience_s:
                return
            del self.workers[name]
            self._add(worker, -1)
            for account, report, granted in zip(
                self._accounts, worker.demand.endpoints, worker.granted, strict=True
            ):
                account.write_off(report.in_flight + granted)
            self.unheard.discard(name)

    def set_slots(self, me: Worker, at: int, slots: int) -> None:
        """How many calls a worker may run at an endpoint."""
        running = me.demand.endpoints[at].in_flight
        self._accounts[at].held += max(slots, running) - max(me.slots[at], running)
        me.slots[at] = slots

    def needs(self, at: int) -> list[int]:
        """Slots that each worker could use at an endpoint."""
        return [w.demand.waiting + w.demand.endpoints[at].in_flight for w in self.workers.values()]

    def saved_sums(self) -> dict[str, SavedSums]:
        """What every worker has reported."""
        return dict(self._sums)

    def saved_workers(self) -> dict[str, SavedWorker]:
        """The workers that wait for, run or hold anything."""
        return {
            name: SavedWorker(
                worker.demand.waiting,
                tuple(report.in_flight for report in worker.demand.endpoints),
                tuple(worker.slots),
                tuple(worker.granted),
            )
            for name, worker in self.workers.items()
            if worker.demand.waiting or worker.demand.in_flight or any(worker.slots) or any(worker.granted)
        }

    def restore(self, state: SavedState, now: float) -> None:
        """Believe that all are alive and hold what they held, until they report or are forgotten."""
        self._sums = dict(state.sums)
        for sums in self._sums.values():
            self.total = self.total.plus(sums.counters)
        for name, saved in state.workers.items():
            reports = tuple(EndpointReport(in_flight=running) for running in saved.in_flight)
            worker = Worker(Demand(saved.waiting, reports), now, list(saved.slots), list(saved.granted))
            self.workers[name] = worker
            self._add(worker, 1)
            self.unheard.add(name)

    def _new_worker(self, now: float) -> Worker:
        nothing = [0] * len(self._accounts)
        return Worker(Demand(0, (EndpointReport(),) * len(nothing)), now, nothing, nothing[:])

    def _add(self, worker: Worker, sign: int) -> None:
        """Add what a worker waits for, runs and holds to the sums over all, or take it off."""
        demand = worker.demand
        self.waiting += sign * demand.waiting
        self.num_active += sign * (demand.waiting > 0)
        for at, account in enumerate(self._accounts):
            running = demand.endpoints[at].in_flight
            account.in_flight += sign * running
            account.granted += sign * worker.granted[at]
            account.held += sign * max(worker.slots[at], running)
            account.needed += sign * (running + demand.waiting)

    def _count(self, name: str, demand: Demand) -> None:
        """Bill what is new in a worker's sums; one never heard of has no debt of this minute's."""
        is_new = name not in self._sums
        before = self._sums.get(name, _NOTHING)
        sums = tuple((report.calls, report.tokens, report.tokens_squared) for report in demand.endpoints)
        if not is_new and sums == before.by_endpoint and demand.counters == before.counters:
            return
        self._sums[name] = SavedSums(demand.counters, sums)
        self.total = self.total.plus(demand.counters).minus(before.counters)
        known = before.by_endpoint or ((0, 0, 0),) * len(sums)
        for account, (calls, tokens, squares), old in zip(self._accounts, sums, known, strict=True):
            if (calls, tokens) != old[:2]:
                account.bill(calls - old[0], tokens - old[1], squares=squares - old[2], is_new=is_new)
