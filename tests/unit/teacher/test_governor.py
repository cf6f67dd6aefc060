"""Rates, money and slots: the governor under an injected clock, alone and with the real lease holders."""

import asyncio
import bisect
import random
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metamath_ray.teacher import Counters, Governor, LocalGovernor, TeacherOptions
from metamath_ray.teacher._demands import LEASE_S, Demand, Lease
from metamath_ray.teacher._leases import LeaseHolder, TeacherStoppedError


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


def most_in_a_window(times: list[float], weights: list[float] | None = None) -> float:
    """The most that any closed window of 60 s holds."""
    weights = weights or [1.0] * len(times)
    sums = [0.0]
    for weight in weights:
        sums.append(sums[-1] + weight)
    ends = (bisect.bisect_right(times, start + 60.0) for start in times)
    return max(sums[end] - sums[at] for at, end in enumerate(ends))


@dataclass
class Load:
    """Workers that always have more to ask than they may."""

    options: TeacherOptions
    num_workers: int
    callers_a_worker: int
    duration_s: tuple[float, float] = (0.2, 2.0)
    tokens: tuple[int, int] = (100, 100)
    starts: list[float] = field(default_factory=list)
    spent_tokens: list[float] = field(default_factory=list)
    by_worker: list[int] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    def run(self, seconds: float) -> None:
        run_virtually(lambda loop: self._run(loop, seconds))

    async def _run(self, loop: VirtualLoop, seconds: float) -> None:
        governor = LocalGovernor(Governor(self.options, clock=loop.time))
        holders = [LeaseHolder(governor, clock=loop.time) for _ in range(self.num_workers)]
        self.by_worker = [0] * self.num_workers
        calls = [
            asyncio.create_task(self._call(loop, holder, number, random.Random(f"{number}/{caller}")))
            for number, holder in enumerate(holders)
            for caller in range(self.callers_a_worker)
        ]
        await asyncio.wait(calls, timeout=seconds)

    async def _call(self, loop: VirtualLoop, holder: LeaseHolder, number: int, chance: random.Random) -> None:
        while True:
            await holder.acquire()
            self.starts.append(loop.time())
            self.by_worker[number] += 1
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            tokens = chance.randint(*self.tokens)
            self.spent_tokens.append(tokens)
            await asyncio.sleep(chance.uniform(*self.duration_s))
            self.in_flight -= 1
            holder.count(calls_made=1, prompt_tokens=tokens)
            holder.release()

    def rate_behind(self, begin: float, end: float, weights: list[float] | None = None) -> float:
        """Calls (or their weights) a minute between two times since the start."""
        pairs = zip(self.starts, weights or [1.0] * len(self.starts), strict=True)
        return sum(w for at, w in pairs if begin <= at - 1000.0 < end) / (end - begin) * 60.0


@pytest.mark.parametrize("rpm", [60, 1200, 6000])
@pytest.mark.parametrize("num_workers", [1, 4, 32])
def test_the_allowed_rate_is_used_and_never_exceeded(rpm, num_workers):
    load = Load(TeacherOptions(rpm=rpm, max_in_flight=10_000), num_workers, max(2, 400 // num_workers))
    load.run(150)
    assert most_in_a_window(load.starts) <= rpm
    assert load.rate_behind(10, 130) >= 0.97 * rpm


@pytest.mark.parametrize("num_workers", [4, 32])
def test_no_worker_starves_under_a_rate_limit(num_workers):
    load = Load(TeacherOptions(rpm=1200, max_in_flight=10_000), num_workers, 12)
    load.run(120)
    mean = sum(load.by_worker) / num_workers
    assert min(load.by_worker) > 0.5 * mean
    assert max(load.by_worker) < 2 * mean


@pytest.mark.parametrize("num_workers", [1, 4, 32])
def test_the_slots_are_filled_and_never_exceeded(num_workers):
    load = Load(TeacherOptions(max_in_flight=64), num_workers, 64, duration_s=(0.5, 1.5))
    load.run(60)
    assert load.most_in_flight <= 64
    assert load.rate_behind(10, 60) >= 0.95 * 64 * 60


@pytest.mark.parametrize("num_workers", [1, 8])
@pytest.mark.parametrize("tokens", [(1000, 1000), (400, 1600)], ids=["even", "uneven"])
def test_the_tokens_a_minute_are_used_and_never_exceeded(num_workers, tokens):
    load = Load(TeacherOptions(tpm=600_000, max_in_flight=1000), num_workers, 100, tokens=tokens)
    load.run(240)
    most = most_in_a_window(load.starts, load.spent_tokens)
    assert most <= 600_000 * (1.0 if tokens[0] == tokens[1] else 1.03)
    assert load.rate_behind(60, 240, load.spent_tokens) >= 0.95 * 600_000


def test_a_call_above_the_token_limit_still_goes_once_a_minute():
    load = Load(TeacherOptions(tpm=500), 2, 2, tokens=(1000, 1000))
    load.run(600)
    assert 4 <= len(load.starts) <= 11


@dataclass
class Spender:
    """A worker as the contract allows it: spends within its lease, in any pattern, and may die."""

    name: str
    style: str
    left: int = 0
    slots: int = 0
    expires: float = 0.0
    next_report: float = 0.0
    spend_at: float = 0.0
    running: list[float] = field(default_factory=list)


class Cluster:
    """Spenders and a governor, stepped through time; checks every spend against the limits."""

    def __init__(self, *, seed: int, rpm: int, max_in_flight: int, num_workers: int, disturbed: bool) -> None:
        self.chance = random.Random(seed)
        self.options = TeacherOptions(rpm=rpm, max_in_flight=max_in_flight)
        self.now = 0.0
        self.governor = Governor(self.options, clock=lambda: self.now)
        self.disturbed = disturbed
        self.num_started = 0
        self.spenders = [self.new_spender() for _ in range(num_workers)]
        self.spent: list[float] = []

    def new_spender(self) -> Spender:
        self.num_started += 1
        style = self.chance.choice(["early", "late", "lazy", "random"])
        return Spender(f"w{self.num_started}", style, next_report=self.now)

    def run(self, seconds: float, step_s: float = 0.02) -> None:
        while self.now < seconds:
            self.now += step_s
            for at, spender in enumerate(self.spenders):
                self.step(spender)
                if self.disturbed and self.chance.random() < step_s / 60:
                    self.spenders[at] = self.new_spender()  # died without a word; its connections with it
            if self.disturbed and self.chance.random() < step_s / 30:
                self.governor = Governor(self.options, clock=lambda: self.now, restarted=True)

    def step(self, spender: Spender) -> None:
        spender.running = [end for end in spender.running if end > self.now]
        while spender.left and spender.spend_at <= self.now <= spender.expires:
            if len(spender.running) >= spender.slots:
                break
            spender.left -= 1
            spender.running.append(self.now + self.chance.choice([0.05, 0.5, 5.0, 40.0]))
            self.spent.append(self.now)
            in_flight = sum(end > self.now for other in self.spenders for end in other.running)
            assert in_flight <= self.options.max_in_flight
        if self.now >= spender.next_report:
            self.report(spender)

    def report(self, spender: Spender) -> None:
        wanted = self.chance.choice([1, 5, 1000])
        lease = self.governor.lease(
            spender.name,
            Demand(waiting=wanted, in_flight=len(spender.running), wanted=wanted, unused=spender.left),
        )
        spender.left, spender.slots, spender.expires = lease.requests, lease.slots, self.now + LEASE_S
        spender.next_report = self.now + self.chance.choice([0.02, 0.25, 0.5, 1.0])
        delay = {"early": 0.0, "late": LEASE_S - 0.02, "lazy": 9.9, "random": self.chance.uniform(0, LEASE_S)}
        spender.spend_at = self.now + delay[spender.style]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rpm=st.sampled_from([1, 7, 60, 119, 600, 5000]),
    max_in_flight=st.sampled_from([1, 3, 50, 5000]),
    num_workers=st.sampled_from([1, 2, 5, 12]),
    disturbed=st.booleans(),
)
def test_no_pattern_of_leases_deaths_and_restarts_exceeds_a_limit(
    seed, rpm, max_in_flight, num_workers, disturbed
):
    cluster = Cluster(
        seed=seed, rpm=rpm, max_in_flight=max_in_flight, num_workers=num_workers, disturbed=disturbed
    )
    cluster.run(130)
    assert not cluster.spent or most_in_a_window(cluster.spent) <= rpm


def ask_for(governor: Governor, worker: str = "w", *, wanted: int = 100, **demand: Any) -> Lease:
    return governor.lease(worker, Demand(waiting=wanted, wanted=wanted, **{"in_flight": 0} | demand))


def test_the_slots_of_a_silent_worker_are_free_again_after_a_while():
    now = [0.0]
    governor = Governor(TeacherOptions(max_in_flight=10), clock=lambda: now[0])
    assert ask_for(governor, "dead").slots == 10
    assert ask_for(governor, "alive").slots == 0
    now[0] = 31.0
    assert ask_for(governor, "alive").slots == 10


def test_slots_are_shared_fairly_and_small_needs_are_met_first():
    governor = Governor(TeacherOptions(max_in_flight=10), clock=lambda: 0.0)
    assert ask_for(governor, "small", wanted=2).slots == 2
    assert ask_for(governor, "a").slots == 8
    ask_for(governor, "b")
    assert ask_for(governor, "a").slots == 4
    assert ask_for(governor, "b").slots == 4


def test_a_pause_holds_for_every_worker_until_it_is_over():
    now = [0.0]
    governor = Governor(TeacherOptions(), clock=lambda: now[0])
    assert ask_for(governor, "told", wanted=3, retry_after_s=7.0).requests == 0
    other = ask_for(governor, "other")
    assert (other.requests, other.pause_s) == (0, 7.0)
    now[0] = 7.0
    assert ask_for(governor, "other").requests > 0


def test_429s_slow_the_rate_down_once_a_second_and_it_recovers():
    now = [0.0]
    governor = Governor(TeacherOptions(rpm=600), clock=lambda: now[0])
    for worker in ("a", "b", "c"):
        ask_for(governor, worker, retry_after_s=0.0)
    assert governor._requests is not None
    assert governor._requests.factor == pytest.approx(0.8)
    for second in range(30):
        now[0] = float(second)
        ask_for(governor)
    assert governor._requests.factor == 1.0


def test_the_counters_are_sums_over_workers_that_live_and_died():
    governor = Governor(TeacherOptions(), clock=lambda: 0.0)
    for calls in (3, 5):
        ask_for(governor, "a", counters=Counters(calls_made=calls))
    ask_for(governor, "b", counters=Counters(calls_made=2))
    assert governor.status().counters.calls_made == 7


def spent(usd: float, calls: int) -> Counters:
    return Counters(calls_made=calls, usd=usd)


def test_the_budget_counts_what_was_spent_before():
    governor = Governor(TeacherOptions(), 10.0, 9.0, clock=lambda: 0.0)
    assert ask_for(governor).requests == 4  # until the first bills are in
    assert ask_for(governor, in_flight=1, counters=spent(0.3, 3)).requests == 6
    assert "budget" in str(ask_for(governor, counters=spent(1.0, 10)).stop)


def test_a_restarted_governor_knows_what_the_dead_spent_and_why_it_stopped(tmp_path: Path):
    memory = tmp_path / "governor.json"
    governor = Governor(TeacherOptions(), 10.0, clock=lambda: 0.0, memory=memory)
    ask_for(governor, "died", counters=spent(7.0, 7))
    later = Governor(TeacherOptions(), 10.0, clock=lambda: 5.0, memory=memory, restarted=True)
    ask_for(later, "alive", counters=spent(1.0, 1))
    assert later.status().counters.usd == 8.0
    later.stop("enough")
    last = Governor(TeacherOptions(), 10.0, clock=lambda: 9.0, memory=memory, restarted=True)
    assert last.status().stop == "enough"


def test_a_governor_that_is_not_restarted_ignores_an_old_memory(tmp_path: Path):
    memory = tmp_path / "governor.json"
    Governor(TeacherOptions(), clock=lambda: 0.0, memory=memory).stop("the run before")
    assert Governor(TeacherOptions(), clock=lambda: 0.0, memory=memory).status().stop is None


def test_a_restart_does_not_debit_the_tokens_of_the_whole_run():
    now = [0.0]
    governor = Governor(TeacherOptions(tpm=60_000), clock=lambda: now[0], restarted=True)
    counters = Counters(calls_made=1000, prompt_tokens=100_000)
    ask_for(governor, counters=counters)
    now[0] = 5.0
    assert ask_for(governor, counters=counters).requests > 0


def test_a_governor_lost_for_good_fails_what_waits():
    class Lost:
        async def lease(self, worker: str, demand: Demand) -> Lease:
            raise ConnectionError("the governor is gone")

        async def stop(self, reason: str) -> None:
            raise AssertionError

    async def check() -> None:
        holder = LeaseHolder(Lost())
        results = await asyncio.gather(*(holder.acquire() for _ in range(3)), return_exceptions=True)
        assert [str(result) for result in results] == ["the governor is gone"] * 3

    asyncio.run(asyncio.wait_for(check(), 5))


def test_a_stop_reaches_those_that_wait():
    async def check() -> None:
        governor = Governor(TeacherOptions(max_in_flight=1))
        holder = LeaseHolder(LocalGovernor(governor))
        await holder.acquire()
        waiting = asyncio.create_task(holder.acquire())
        await asyncio.sleep(0.01)
        governor.stop("enough")
        with pytest.raises(TeacherStoppedError, match="enough"):
            await waiting

    asyncio.run(asyncio.wait_for(check(), 5))


def test_a_worker_at_rest_holds_no_slots():
    async def check() -> None:
        governor = Governor(TeacherOptions(max_in_flight=4))
        holder = LeaseHolder(LocalGovernor(governor))
        for _ in range(4):
            await holder.acquire()
        for _ in range(4):
            holder.release()
        await asyncio.sleep(0.8)
        assert governor.status().in_flight == 0
        assert ask_for(governor, "other").slots == 4

    asyncio.run(asyncio.wait_for(check(), 5))
