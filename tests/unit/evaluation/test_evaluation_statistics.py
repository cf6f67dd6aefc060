"""Intervals, the paired test and the estimates from samples, against published values and closed forms."""

import math
from fractions import Fraction
from itertools import combinations
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamath_ray.evaluation import mcnemar_exact, paired_difference_interval, pass_at_k, wilson_interval
from metamath_ray.evaluation._statistics import Z_95, counts_of_k, split_in_thirds

trials_and_successes = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        pytest.param(81, 263, 0.2553, 0.3662, id="Newcombe 1998, 81 of 263"),
        pytest.param(15, 148, 0.0624, 0.1605, id="Newcombe 1998, 15 of 148"),
        pytest.param(0, 20, 0.0, 0.1611, id="Newcombe 1998, 0 of 20"),
        pytest.param(1, 29, 0.0061, 0.1718, id="Newcombe 1998, 1 of 29"),
    ],
)
def test_wilson_interval_is_the_published_one(successes, trials, low, high):
    interval = wilson_interval(successes, trials)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@given(trials_and_successes)
def test_wilson_bounds_solve_the_score_equation(case):
    trials, successes = case
    interval = wilson_interval(successes, trials)
    assert 0 <= interval.low <= successes / trials <= interval.high <= 1
    for bound in (interval.low, interval.high):
        if 0 < bound < 1:
            distance = abs(successes / trials - bound) / math.sqrt(bound * (1 - bound) / trials)
            assert distance == pytest.approx(Z_95, rel=1e-6)


@given(trials_and_successes)
def test_wilson_interval_mirrors_when_failures_are_counted(case):
    trials, successes = case
    one, other = wilson_interval(successes, trials), wilson_interval(trials - successes, trials)
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-12)


def test_no_trial_says_nothing():
    assert (wilson_interval(0, 0).low, wilson_interval(0, 0).high) == (0.0, 1.0)
    nothing = paired_difference_interval(0, 0, 0)
    assert (nothing.low, nothing.high) == (-1.0, 1.0)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_twice_the_binomial_tail(only_first, only_second):
    discordant = only_first + only_second
    tail = sum(math.comb(discordant, k) for k in range(min(only_first, only_second) + 1))
    expected = min(Fraction(1), Fraction(2 * tail, 2**discordant))
    assert mcnemar_exact(only_first, only_second) == pytest.approx(float(expected), rel=1e-12)
    assert mcnemar_exact(only_first, only_second) == mcnemar_exact(only_second, only_first)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        pytest.param(0, 0, 1.0, id="no item differs"),
        pytest.param(0, 5, 0.0625, id="2 / 2^5"),
        pytest.param(1, 9, 22 / 1024, id="2 x 11 / 2^10"),
        pytest.param(5, 5, 1.0, id="as many each way"),
    ],
)
def test_mcnemar_of_small_tables(only_first, only_second, p_value):
    assert mcnemar_exact(only_first, only_second) == pytest.approx(p_value)


def test_mcnemar_holds_for_counts_beyond_a_float():
    p_value = mcnemar_exact(2400, 2600)
    z = (199 / 2) / math.sqrt(5000 / 4)
    assert p_value == pytest.approx(2 * (1 - NormalDist().cdf(z)), rel=0.01)
    assert mcnemar_exact(0, 5000) == 0.0


def test_paired_interval_covers_the_difference_19_times_of_20():
    trials, first, second = 40, 0.15, 0.05
    covered = 0.0
    for b in range(trials + 1):
        for c in range(trials + 1 - b):
            interval = paired_difference_interval(b, c, trials)
            if interval.low <= second - first <= interval.high:
                ways = math.comb(trials, b) * math.comb(trials - b, c)
                covered += ways * first**b * second**c * (1 - first - second) ** (trials - b - c)
    assert 0.935 < covered < 0.98


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_paired_interval_turns_its_sign_with_its_sides(only_first, only_second, neither):
    trials = only_first + only_second + neither
    one = paired_difference_interval(only_first, only_second, trials)
    other = paired_difference_interval(only_second, only_first, trials)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert -1 <= one.low <= one.high <= 1


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_with_a_correct_sample(case):
    samples, correct, k = case
    draws = list(combinations([True] * correct + [False] * (samples - correct), k))
    assert pass_at_k(samples, correct, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_pass_at_1_is_the_mean_and_pass_at_all_is_whether_any_was_right(case):
    samples, correct = case
    assert pass_at_k(samples, correct, 1) == pytest.approx(correct / samples)
    assert pass_at_k(samples, correct, samples) == pytest.approx(float(correct > 0))


@given(st.lists(st.integers(), max_size=50))
def test_thirds_are_equal_and_lose_nothing(items):
    thirds = split_in_thirds(items)
    sizes = [len(third) for third in thirds]
    assert [one for third in thirds for one in third] == items
    assert max(sizes) - min(sizes) <= 1


def test_k_grows_by_doubling_up_to_all_samples():
    assert [counts_of_k(n) for n in (0, 1, 4, 5)] == [(), (1,), (1, 2, 4), (1, 2, 4, 5)]
