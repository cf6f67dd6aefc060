"""No pattern of leases, deaths and restarts exceeds a limit of any endpoint over any 60 s."""

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_cluster import KeptState, most_in_a_window

from metamath_ray.teacher import Governor, TeacherOptions
from metamath_ray.teacher._demands import LEASE_S, Demand, EndpointReport, Lease

pytestmark = pytest.mark.slow

TOKENS_A_CALL = 700


@dataclass
class Spender:
    """A worker as the contract allows it: spends within its lease, in any pattern, and may die."""

    name: str
    style: str
    left: list[int]
    slots: list[int]
    calls: list[int]
    expires: float = 0.0
    next_report: float = 0.0
    spend_at: float = 0.0
    running: list[tuple[float, int]] = field(default_factory=list)  # end, endpoint

    def in_flight(self, at: int) -> int:
        return sum(place == at for _, place in self.running)


class Cluster:
    """Spenders and a governor, stepped through time; checks every spend against the limits."""

    def __init__(
        self, options: TeacherOptions, *, seed: int, num_workers: int, disturbed: bool, remembers: bool
    ) -> None:
        self.chance = random.Random(seed)
        self.options = options
        self.now = 0.0
        self.num_endpoints = max(1, len(options.endpoints))
        self.memory = KeptState() if remembers else None
        self.governor = self.new_governor(restarted=False)
        self.disturbed = disturbed
        self.num_started = self.num_restarts = 0
        self.spenders = [self.new_spender() for _ in range(num_workers)]
        self.spent: dict[int, list[float]] = defaultdict(list)

    def new_governor(self, *, restarted: bool) -> Governor:
        clock: Callable[[], float] = lambda: self.now  # noqa: E731
        return Governor(self.options, clock=clock, wall=clock, memory=self.memory, restarted=restarted)

    def new_spender(self) -> Spender:
        self.num_started += 1
        style = self.chance.choice(["early", "late", "lazy", "random"])
        left, slots, calls = ([0] * self.num_endpoints for _ in range(3))
        return Spender(f"w{self.num_started}", style, left, slots, calls, next_report=self.now)

    def run(self, seconds: float, step_s: float = 0.02) -> None:
        while self.now < seconds:
            self.now += step_s
            for at, spender in enumerate(self.spenders):
                self.step(spender)
                if self.disturbed and self.chance.random() < step_s / 60:
                    self.spenders[at] = self.new_spender()  # died without a word; its connections with it
            if self.disturbed and self.chance.random() < step_s / 30:
                self.num_restarts += 1
                self.governor = self.new_governor(restarted=True)

    def step(self, spender: Spender) -> None:
        for end, at in spender.running:
            spender.calls[at] += end <= self.now
        spender.running = [call for call in spender.running if call[0] > self.now]
        for at in range(self.num_endpoints):
            while spender.left[at] and spender.spend_at <= self.now <= spender.expires:
                if spender.in_flight(at) >= spender.slots[at]:
                    break
                self.spend(spender, at)
        if self.now >= spender.next_report:
            self.report(spender)

    def spend(self, spender: Spender, at: int) -> None:
        spender.left[at] -= 1
        spender.running.append((self.now + self.chance.choice([0.05, 0.5, 5.0, 40.0]), at))
        self.spent[at].append(self.now)
        limits = self.options.endpoints[at] if self.options.endpoints else self.options
        assert sum(other.in_flight(at) for other in self.spenders) <= (limits.max_in_flight or 0)

    def report(self, spender: Spender) -> None:
        reports = tuple(
            EndpointReport(
                in_flight=spender.in_flight(at),
                unused=spender.left[at],
                soon=self.chance.choice([1, 5]),
                calls=spender.calls[at],
                tokens=spender.calls[at] * TOKENS_A_CALL,
                tokens_squared=spender.calls[at] * TOKENS_A_CALL**2,
            )
            for at in range(self.num_endpoints)
        )
        lease: Lease = self.governor.lease(spender.name, Demand(self.chance.choice([1, 5, 1000]), reports))
        spender.left = [share.requests for share in lease.shares]
        spender.slots = [share.slots for share in lease.shares]
        spender.expires = self.now + LEASE_S
        spender.next_report = self.now + self.chance.choice([0.02, 0.25, 0.5, 1.0])
        delay = {"early": 0.0, "late": LEASE_S - 0.02, "lazy": 9.9, "random": self.chance.uniform(0, LEASE_S)}
        spender.spend_at = self.now + delay[spender.style]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rpm=st.sampled_from([1, 7, 60, 119, 600, 5000]),
    max_in_flight=st.sampled_from([1, 3, 50, 5000]),
    num_workers=st.sampled_from([1, 2, 5, 12]),
    disturbed=st.booleans(),
    remembers=st.booleans(),
)
def test_no_pattern_of_leases_deaths_and_restarts_exceeds_a_limit(
    seed, rpm, max_in_flight, num_workers, disturbed, remembers
):
    options = TeacherOptions(rpm=rpm, max_in_flight=max_in_flight)
    cluster = Cluster(options, seed=seed, num_workers=num_workers, disturbed=disturbed, remembers=remembers)
    cluster.run(130)
    assert most_in_a_window(cluster.spent[0]) <= rpm


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rpms=st.lists(st.sampled_from([7, 60, 600, None]), min_size=2, max_size=3),
    tpms=st.lists(st.sampled_from([20_000, 400_000, None]), min_size=3, max_size=3),
    max_in_flight=st.sampled_from([3, 50]),
    num_workers=st.sampled_from([1, 5]),
    disturbed=st.booleans(),
)
def test_each_endpoint_keeps_its_own_limits_in_requests_and_tokens(
    seed, rpms, tpms, max_in_flight, num_workers, disturbed
):
    endpoints = [
        {"base_url": f"http://host-{at}/v1", "rpm": rpm, "tpm": tpm, "max_in_flight": max_in_flight}
        for at, (rpm, tpm) in enumerate(zip(rpms, tpms, strict=False))
    ]
    options = TeacherOptions(endpoints=endpoints)
    cluster = Cluster(options, seed=seed, num_workers=num_workers, disturbed=disturbed, remembers=True)
    cluster.run(130)
    for at, endpoint in enumerate(options.endpoints):
        most = most_in_a_window(cluster.spent[at])
        assert endpoint.rpm is None or most <= endpoint.rpm
        assert endpoint.tpm is None or most * TOKENS_A_CALL <= endpoint.tpm


def test_many_restarts_cost_little_of_the_rate():
    """Each forgets what was granted in its last second at most, and counts that as spent."""
    options = TeacherOptions(rpm=600, max_in_flight=5000)
    cluster = Cluster(options, seed=3, num_workers=5, disturbed=False, remembers=True)
    for stop_at in range(20, 200, 20):
        cluster.run(float(stop_at))
        cluster.governor = cluster.new_governor(restarted=True)
    cluster.run(260)
    assert most_in_a_window(cluster.spent[0]) <= 600
    last_minute = [time for time in cluster.spent[0] if time >= 200]
    assert len(last_minute) >= 0.5 * 600  # these spenders leave much of their leases unused
