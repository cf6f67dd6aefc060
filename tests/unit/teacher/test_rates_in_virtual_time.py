"""Rates and slots with the real lease holders in simulated time: used in full, never exceeded, evenly shared."""

import pytest
from virtual_cluster import Load, most_in_a_window

from metamath_ray.teacher import TeacherOptions

pytestmark = pytest.mark.slow


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
