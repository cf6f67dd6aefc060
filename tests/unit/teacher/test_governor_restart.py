"""What a governor knows that takes another's place: in simulated time, and behind a Ray actor that is killed."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from virtual_cluster import KeptState

from metamath_ray.teacher import Counters, Governor, RayGovernor, TeacherOptions, start_governor
from metamath_ray.teacher._demands import Demand, EndpointReport, Lease
from metamath_ray.teacher._memory import FileMemory

NOTHING_YET = Counters()


class Succession:
    """Governors with one memory, one after the other."""

    def __init__(self, options: TeacherOptions, memory: Any = None, **more: Any) -> None:
        self.options, self.memory, self.more = options, memory or KeptState(), more
        self.now = 0.0
        self.begin()

    def begin(self, *, restarted: bool = False, memory: bool = True) -> Governor:
        self.governor = Governor(
            self.options,
            clock=lambda: self.now,
            wall=lambda: self.now,
            memory=self.memory if memory else None,
            restarted=restarted,
            **self.more,
        )
        return self.governor

    def lease(
        self, worker: str = "w", waiting: int = 100, counters: Counters = NOTHING_YET, **report: Any
    ) -> Lease:
        return self.governor.lease(worker, Demand(waiting, (EndpointReport(**report),), counters))


def test_a_restarted_governor_knows_what_the_dead_spent_and_why_it_stopped():
    runs = Succession(TeacherOptions(), budget_usd=10.0)
    runs.lease("died", counters=Counters(calls_made=7, usd=7.0))
    runs.begin(restarted=True)
    runs.lease("alive", counters=Counters(calls_made=1, usd=1.0))
    assert runs.governor.status().counters.usd == 8.0
    runs.governor.stop("enough")
    assert runs.begin(restarted=True).status().stop == "enough"


def test_a_new_run_ignores_an_old_runs_stop_and_counters_but_not_its_last_minute():
    runs = Succession(TeacherOptions(rpm=60))
    runs.now = 5.0
    while runs.now < 60.0:
        runs.lease(calls=3)
        runs.now += 0.5
    runs.governor.stop("the run before")
    status = runs.begin().status()
    assert (status.stop, status.counters.calls_made) == (None, 0)
    assert runs.lease("new").requests == 0


def test_what_was_billed_and_is_in_no_ledger_counts_against_the_budget_of_the_next_run():
    """Empty replies are paid for and not stored; what the caller gives as spent is what the ledger holds."""
    runs = Succession(
        TeacherOptions(usd_per_million_prompt_tokens=1.0), budget_usd=10.0, spent_usd_before=1.0
    )
    for spent_usd in (4.0, 8.0):
        runs.lease(counters=Counters(calls_made=4, prompt_tokens=4_000_000, usd=4.0))
        runs.now += 3600.0
        for restarted in (False, True, True):
            assert runs.begin(restarted=restarted).spent_usd_before == spent_usd
    assert runs.lease(counters=Counters(calls_made=1, prompt_tokens=1_000_000, usd=1.0)).requests == 1


def test_a_governor_that_dies_before_its_first_lease_leaves_nothing_of_the_run_before():
    runs = Succession(TeacherOptions())
    runs.lease(counters=Counters(calls_made=3))
    runs.governor.stop("the run before")
    runs.begin()
    status = runs.begin(restarted=True).status()
    assert (status.stop, status.counters.calls_made) == (None, 0)


def test_a_new_run_an_hour_later_begins_afresh():
    runs = Succession(TeacherOptions(rpm=60))
    runs.lease(retry_after_s=100.0)
    runs.now = 3600.0
    runs.begin()
    runs.now += 5.0
    assert runs.lease("new").requests > 0


def test_a_restart_does_not_debit_the_tokens_of_the_whole_run():
    runs = Succession(TeacherOptions(tpm=60_000))
    bill = {"calls": 1000, "tokens": 100_000, "tokens_squared": 10_000_000}
    runs.lease(**bill)
    runs.now = 100.0
    runs.lease(**bill)
    runs.begin(restarted=True)
    runs.lease(**bill)
    runs.now = 105.0
    assert runs.lease(**bill).requests > 0


def test_a_restart_keeps_the_debt_in_tokens_of_the_last_minute():
    runs = Succession(TeacherOptions(tpm=60_000))
    runs.now = 5.0
    runs.lease()
    runs.lease(calls=4, tokens=60_000, tokens_squared=4 * 15_000**2)
    for restart_at in (6.0, 20.0, 40.0):
        runs.now = restart_at
        runs.begin(restarted=True)
        assert runs.lease(calls=4, tokens=60_000, tokens_squared=4 * 15_000**2).requests == 0
    runs.now = 90.0
    assert runs.lease(calls=4, tokens=60_000, tokens_squared=4 * 15_000**2).requests > 0


def test_a_restart_keeps_pauses_slowness_and_endpoints_that_are_out():
    two = TeacherOptions(endpoints=[{"base_url": "http://a/v1", "rpm": 60}, {"base_url": "http://b/v1"}])
    runs = Succession(two)
    runs.governor.lease("w", Demand(9, (EndpointReport(retry_after_s=50.0), EndpointReport())))
    runs.governor.take_out(1, "no such model")
    runs.now = 10.0
    first, second = runs.begin(restarted=True).status().endpoints
    assert first.paused_s == pytest.approx(40.0)
    assert first.rate_factor == pytest.approx(0.8, abs=0.05)
    assert second.out == "no such model"


def test_a_restart_gives_nothing_out_before_it_has_heard_from_all_that_held_something():
    runs = Succession(TeacherOptions(max_in_flight=10))
    assert runs.lease("a", waiting=5).slots == 5
    assert runs.lease("b", waiting=5).slots == 5
    runs.begin(restarted=True)
    lease = runs.lease("a", waiting=5)
    assert (lease.requests, lease.slots) == (0, 0)
    assert lease.pause_s > 0
    runs.lease("b", waiting=0, in_flight=5)
    assert runs.lease("a", waiting=20).slots == 5


def test_a_worker_that_died_with_the_governor_is_waited_for_half_a_minute():
    runs = Succession(TeacherOptions(max_in_flight=10))
    runs.lease("dead", waiting=10)
    runs.begin(restarted=True)
    assert runs.lease("alive").requests == 0
    runs.now = 31.0
    assert runs.lease("alive").slots == 10


def test_without_a_memory_the_minute_before_counts_as_spent():
    runs = Succession(TeacherOptions(rpm=60))
    runs.begin(restarted=True, memory=False)
    for second in range(1, 60):
        runs.now = float(second)
        assert runs.lease().requests == 0
    runs.now = 75.0
    assert runs.lease().requests > 0


@pytest.mark.parametrize("text", ["", "{", '{"stop": null, "counters": {}}'], ids=["empty", "cut", "older"])
def test_a_memory_that_cannot_be_read_is_said_and_not_used(tmp_path: Path, caplog, text):
    path = tmp_path / "governor.json"
    path.write_text(text)
    assert FileMemory(path).load() is None
    assert f"{path} is no governor's memory" in caplog.text


def test_the_memory_on_disk_gives_back_what_was_written(tmp_path: Path):
    kept, on_disk = KeptState(), FileMemory(tmp_path / "governor.json")
    for memory in (kept, on_disk):
        runs = Succession(TeacherOptions(rpm=60, tpm=5000), memory=memory)
        for second in range(9):
            runs.now = float(second)
            runs.lease(
                f"w{second % 2}", counters=Counters(calls_made=second, usd=0.1 * second), tokens=second
            )
    assert on_disk.load() == kept.load()


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


async def lease_until(governor: RayGovernor, reports: list[EndpointReport], *, num_given: int) -> list[int]:
    """What one worker is given, by endpoint, until it has so much of the second; asks as often as it may."""
    given = [0] * len(reports)
    while given[1] < num_given:
        lease = await governor.lease("w", Demand(1_000, tuple(reports), Counters(calls_made=7)))
        given = [sum_ + share.requests for sum_, share in zip(given, lease.shares, strict=True)]
        await asyncio.sleep(0.05)
    return given


@pytest.mark.slow
def test_a_killed_actor_forgets_neither_spending_nor_pauses_nor_endpoints_that_are_out(
    ray: Any, tmp_path: Path
):
    options = TeacherOptions(
        max_in_flight=10_000,
        endpoints=[
            {"base_url": "http://tokens/v1", "tpm": 6_000},
            {"base_url": "http://requests/v1", "rpm": 600},
            {"base_url": "http://paused/v1"},
            {"base_url": "http://out/v1"},
        ],
    )
    governor = start_governor(
        options, run_id="killed", budget_usd=None, spent_usd=0.0, memory=tmp_path / "governor.json"
    )

    async def check() -> None:
        started = time.monotonic()
        spent = EndpointReport(calls=4, tokens=6_000, tokens_squared=4 * 1_500**2)
        free = EndpointReport(soon=10_000)
        paused = EndpointReport(retry_after_s=300.0)
        assert await governor.take_out(3, "no such model") is None
        await lease_until(governor, [EndpointReport(), free, paused, free], num_given=1)
        given = 0
        for deaths in range(3):
            if deaths:
                ray.kill(governor.actor, no_restart=False)
            more = await lease_until(governor, [spent, free, EndpointReport(), free], num_given=8)
            assert more[2] == more[3] == 0
            took_s = time.monotonic() - started
            assert more[0] == 0 or took_s > 50, "the tokens of the last minute were spent"
            given += more[1]
        assert given <= took_s * 10 + 6  # a second's ten, and one burst for all three of them
        status = governor.status()
        assert status.counters.calls_made == 7
        assert status.endpoints[3].out == "no such model"
        assert status.endpoints[2].paused_s > 200

    asyncio.run(asyncio.wait_for(check(), 120))
    governor.close()
