"""The governor under an injected clock: slots, pauses, slowing down, counters, money."""

from typing import Any

import pytest

from metamath_ray.teacher import Counters, Governor, TeacherOptions
from metamath_ray.teacher._demands import Demand, EndpointReport, Lease

NOTHING_YET = Counters()


def ask_for(
    governor: Governor,
    worker: str = "w",
    *,
    wanted: int = 100,
    counters: Counters = NOTHING_YET,
    **report: Any,
) -> Lease:
    return governor.lease(worker, Demand(wanted, (EndpointReport(**report),), counters))


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
    assert governor.status().endpoints[0].rate_factor == pytest.approx(0.8)
    for second in range(30):
        now[0] = float(second)
        ask_for(governor)
    assert governor.status().endpoints[0].rate_factor == 1.0


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


def test_a_spent_budget_stops_nobody_who_asks_for_nothing():
    """The run whose last reply took the last cent is done; its rows come from the ledger when it is run again."""
    governor = Governor(TeacherOptions(), 10.0, 9.0, clock=lambda: 0.0)
    assert ask_for(governor, wanted=0, counters=spent(1.5, 3)).stop is None
    assert governor.status().stop is None
    assert "budget" in str(ask_for(governor, wanted=1, counters=spent(1.5, 3)).stop)


def test_what_a_dead_worker_had_in_flight_counts_against_the_budget():
    now = [0.0]
    governor = Governor(TeacherOptions(max_in_flight=100), 10.0, clock=lambda: now[0])
    ask_for(governor, "alive", wanted=0, counters=spent(2.0, 2))
    ask_for(governor, "dead", wanted=3, in_flight=2)
    now[0] = 31.0
    assert ask_for(governor, "alive", counters=spent(2.0, 2)).requests == 8 - (2 + 3)


def test_429s_of_an_endpoint_without_a_rate_take_slots_and_give_them_back():
    now = [0.0]
    governor = Governor(TeacherOptions(max_in_flight=100), clock=lambda: now[0])
    assert ask_for(governor, wanted=200).slots == 100
    assert ask_for(governor, wanted=200, retry_after_s=0.0).slots == 80
    now[0] = 1.0
    for second in range(2, 15):
        now[0] = float(second)
        slots = ask_for(governor, wanted=200).slots
    assert slots == 100


@pytest.mark.parametrize(("num_workers", "seconds"), [(1, 0.1), (11, 1.0), (51, 5.0), (1000, 10.0)])
def test_who_comes_last_is_told_when_the_others_are_served(num_workers, seconds):
    """Ten calls a second, one a turn; who must wait for long is heard of every ten seconds."""
    governor = Governor(TeacherOptions(rpm=605, max_in_flight=100_000), clock=lambda: 0.0)
    for number in range(num_workers):
        lease = ask_for(governor, f"w{number}")
    assert lease.again_s == pytest.approx(seconds, rel=0.06)


def test_tokens_of_calls_of_unknown_size_are_found_out_with_a_few():
    now = [0.0]
    governor = Governor(TeacherOptions(tpm=10_000_000), clock=lambda: now[0])
    ask_for(governor)
    now[0] = 5.0
    assert ask_for(governor).requests == 4
    bill = {"calls": 4, "tokens": 4_000, "tokens_squared": 4_000_000}
    assert ask_for(governor, wanted=30, **bill).requests == 30
