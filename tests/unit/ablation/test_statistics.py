import math
import re

import numpy as np
import pytest

from metamath_ray.ablation._outcomes import Outcome
from metamath_ray.ablation._statistics import (
    compare_mixes,
    correct_by_holm,
    resample_accuracies,
)
from metamath_ray.ablation._verdicts import MixVerdicts, align_outcomes


def verdicts(correct):
    correct = np.array(correct, dtype=np.bool_)
    return MixVerdicts(tuple(range(len(correct))), correct)


def draw(rng, *, seeds, problems, share=0.4, spread=0.0):
    chance = share + spread * rng.standard_normal((seeds, 1))
    return verdicts(rng.random((seeds, problems)) < chance)


def outcome(mix="A", seed=0, ids=("p", "q"), correct=(True, False), benchmark="b"):
    return Outcome(mix, seed, benchmark, tuple(ids), tuple(correct))


class Replayed:
    """A generator's draws, written down one by one as plain lists."""

    def __init__(self, generator):
        self.generator = generator

    def integers(self, high, size):
        return self.generator.integers(high, size=size).tolist()

    def chisquare(self, degrees, size):
        return self.generator.chisquare(degrees, size).tolist()


def resample_by_loops(benchmark, mixes, num_resamples, seed):
    import zlib

    def replay(*names):
        return Replayed(np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)]))

    first = next(iter(mixes.values())).correct.tolist()
    problems = len(first[0])
    drawn = replay(benchmark).integers(problems, (num_resamples, problems))
    resampled = {}
    for mix, one in mixes.items():
        rows = one.correct.tolist()
        n = len(rows)
        accuracies = [sum(row) / problems for row in rows]
        mean = sum(accuracies) / n
        of_mix = replay(benchmark, mix)
        seeds_drawn = of_mix.integers(n, (num_resamples, n)) if n > 1 else []
        chis = of_mix.chisquare(n - 1, num_resamples) if n > 1 else []
        values = []
        for b in range(num_resamples):
            over_problems = sum(row[j] for row in rows for j in drawn[b]) / (n * problems)
            deviation = 0.0
            if n > 1:
                deviation = sum(accuracies[s] - mean for s in seeds_drawn[b]) / n
                deviation *= math.sqrt(n / (n - 1)) * math.sqrt((n - 1) / chis[b])
            values.append(over_problems + deviation)
        resampled[mix] = values
    return resampled


@pytest.mark.parametrize("seeds", [(1, 1), (3, 3), (2, 4)], ids=["one-seed", "three-seeds", "unlike-seeds"])
def test_resamples_equal_those_of_plain_loops(seeds):
    rng = np.random.default_rng(7)
    mixes = {name: draw(rng, seeds=n, problems=9) for name, n in zip("AB", seeds, strict=True)}
    ours = resample_accuracies("b", mixes, num_resamples=40, seed=3)
    plain = resample_by_loops("b", mixes, 40, 3)
    assert ours.keys() == plain.keys()
    for mix in mixes:
        np.testing.assert_allclose(ours[mix], plain[mix], rtol=0, atol=1e-12)


def test_figures_of_a_pair_are_those_of_its_resamples():
    rng = np.random.default_rng(1)
    mixes = {
        "A": draw(rng, seeds=3, problems=60, share=0.3),
        "B": draw(rng, seeds=3, problems=60, share=0.4),
    }
    found = compare_mixes("b", mixes, num_resamples=2_000)
    resampled = resample_accuracies("b", mixes, num_resamples=2_000, seed=0)
    differences = resampled["B"] - resampled["A"]
    (pair,) = found.differences
    assert (pair.first, pair.second) == ("A", "B")
    assert pair.difference == pytest.approx(found.scores[1].accuracy - found.scores[0].accuracy)
    assert pair.share_not_above == np.mean(differences <= 0)
    assert [pair.interval.low, pair.interval.high] == pytest.approx(np.quantile(differences, [0.025, 0.975]))
    assert pair.p_value == pytest.approx(
        2 * (min((differences <= 0).sum(), (differences >= 0).sum()) + 1) / 2_001
    )


def test_the_same_verdicts_give_the_same_figures_whatever_other_mixes_there_are():
    rng = np.random.default_rng(2)
    a, b, c = (draw(rng, seeds=3, problems=50) for _ in range(3))
    alone = compare_mixes("b", {"A": a, "C": c}, num_resamples=700)
    among = compare_mixes("b", {"B": b, "C": c, "A": a}, num_resamples=700)
    again = compare_mixes("b", {"A": a, "C": c}, num_resamples=700)
    assert alone == again
    of_a = next(score for score in among.scores if score.mix == "A")
    assert alone.scores[0] == of_a
    pair = next(one for one in among.differences if {one.first, one.second} == {"A", "C"})
    assert pair.difference == -alone.differences[0].difference
    assert pair.interval.low == pytest.approx(-alone.differences[0].interval.high)


def test_another_resampling_seed_gives_other_resamples():
    mixes = {"A": draw(np.random.default_rng(0), seeds=3, problems=50)}
    one, other = (resample_accuracies("b", mixes, num_resamples=50, seed=seed)["A"] for seed in (0, 1))
    assert (one != other).any()


def test_all_mixes_are_resampled_on_the_same_problems():
    one = draw(np.random.default_rng(5), seeds=1, problems=40)
    resampled = resample_accuracies("b", {"A": one, "B": one}, num_resamples=30, seed=0)
    assert (resampled["A"] == resampled["B"]).all()


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    ("right", "problems", "low", "high"),
    [
        (True, 50, 0.025 ** (1 / 50), 1.0),
        (False, 50, 0.0, 1 - 0.025 ** (1 / 50)),
        (True, 1, 0.025, 1.0),
        (False, 1, 0.0, 0.975),
    ],
    ids=["all-right", "all-wrong", "one-problem-right", "one-problem-wrong"],
)
def test_where_all_answers_are_alike_the_interval_is_clopper_and_pearsons(right, problems, low, high, seeds):
    score = compare_mixes("b", {"A": verdicts([[right] * problems] * seeds)}, num_resamples=200).scores[0]
    assert score.accuracy == float(right)
    assert (score.interval.low, score.interval.high) == pytest.approx((low, high))


def test_one_seed_has_an_interval_over_problems_alone_and_says_so():
    rng = np.random.default_rng(4)
    several = draw(rng, seeds=3, problems=80)
    single = MixVerdicts((8,), several.correct[:1])
    found = compare_mixes("b", {"several": several, "single": single}, num_resamples=500)
    assert [score.over for score in found.scores] == ["seeds and problems", "problems"]
    assert found.differences[0].over == "problems"
    assert found.scores[1].by_seed == {8: pytest.approx(several.correct[0].mean())}


def test_two_mixes_with_the_same_answers_do_not_differ():
    one = draw(np.random.default_rng(4), seeds=1, problems=40)
    pair = compare_mixes("b", {"A": one, "B": one}, num_resamples=300).differences[0]
    assert (pair.difference, pair.share_not_above, pair.p_value) == (0.0, 1.0, 1.0)
    assert pair.interval.high == -pair.interval.low == pytest.approx(1 - 0.025 ** (1 / 40))


def test_three_problems_prove_nothing_even_where_one_mix_solves_all_and_the_other_none():
    pair = compare_mixes(
        "b", {"A": verdicts([[0] * 3]), "B": verdicts([[1] * 3])}, num_resamples=300
    ).differences[0]
    assert pair.difference == 1.0
    assert pair.share_not_above == 0.0
    assert pair.p_value == 0.25
    assert pair.interval.low < 0


def test_a_large_difference_is_seen_and_survives_correction():
    rng = np.random.default_rng(9)
    mixes = {
        name: draw(rng, seeds=3, problems=400, share=share)
        for name, share in zip("ABC", (0.2, 0.2, 0.6), strict=True)
    }
    by_pair = {
        (one.first, one.second): one for one in compare_mixes("b", mixes, num_resamples=3_000).differences
    }
    assert by_pair["A", "B"].p_holm > 0.05
    assert by_pair["A", "C"].p_holm < 0.05
    assert by_pair["B", "C"].interval.low > 0.2


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ([], []),
        ([0.02], [0.02]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.01, 0.01], [0.02, 0.02]),
    ],
    ids=["none", "one", "by-hand", "capped", "ties"],
)
def test_holms_correction_equals_the_one_worked_by_hand(p_values, corrected):
    assert correct_by_holm(p_values) == pytest.approx(corrected)


# Crossed effects of problems, seeds and single answers, in a probit model, whose true mean is known.
EFFECTS = {
    "problems-vary": (1.5, 0.0, 0.7),
    "seeds-vary": (1.0, 0.25, 0.5),
    "single-answers-vary": (0.3, 0.0, 1.5),
}


@pytest.mark.parametrize("seeds", [3, 5], ids=["three-seeds", "five-seeds"])
@pytest.mark.parametrize("effects", EFFECTS.values(), ids=EFFECTS)
def test_intervals_cover_the_truth_about_as_often_as_they_say(effects, seeds):
    of_problems, of_seeds, of_answers = effects
    rng = np.random.default_rng(11)
    true = 0.5 * math.erfc(0.5 / math.sqrt(2 * (1 + of_problems**2 + of_seeds**2 + of_answers**2)))
    covered = np.zeros(2)
    for _ in range(250):
        problems = of_problems * rng.standard_normal(100)

        def answer(problems=problems):
            of_seed = of_seeds * rng.standard_normal((seeds, 1))
            noise = np.hypot(1.0, of_answers) * rng.standard_normal((seeds, problems.size))
            return verdicts(problems + of_seed + noise > 0.5)

        found = compare_mixes("b", {"A": answer(), "B": answer()}, num_resamples=300)
        interval, difference = found.scores[0].interval, found.differences[0].interval
        covered += (interval.low <= true <= interval.high, difference.low <= 0 <= difference.high)
    of_accuracy, of_difference = covered / 250
    assert 0.9 <= of_accuracy <= 1.0
    assert 0.9 <= of_difference <= 1.0


def test_verdicts_are_put_into_the_order_of_the_first_mixs_problems():
    outcomes = [outcome("B", 1, ("q", "p"), (False, True)), outcome("A"), outcome("B", 0)]
    aligned = align_outcomes(outcomes, mixes=["A", "B", "C"], benchmarks=["none", "b"])
    assert {name: list(mixes) for name, mixes in aligned.items()} == {"b": ["A", "B"]}
    assert aligned["b"]["B"].seeds == (0, 1)
    assert aligned["b"]["B"].correct.tolist() == [[True, False], [True, False]]


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        (
            [outcome(), outcome("B", ids=("p", "r"))],
            "b of mix 'B', seed 0 has 2 problems, b of mix 'A', seed 0 has 2, and they are not the same "
            "('q' is not in b of mix 'B', seed 0); all mixes must answer the same problems",
        ),
        (
            [outcome(), outcome("A", 1, ids=("p", "q", "a"), correct=(True,) * 3)],
            "('a' is not in b of mix 'A', seed 0)",
        ),
        ([outcome(), outcome()], "b of mix 'A', seed 0 is there twice; each trial must be there once"),
        ([outcome(ids=("p", "p"))], "problem 'p' is there twice"),
        ([outcome(ids=(), correct=())], "b of mix 'A', seed 0 has no problem"),
        ([outcome("D")], "the mix must be one of A, B, got 'D'"),
        ([outcome(benchmark="c")], "the benchmark must be one of b, got 'c'"),
    ],
    ids=["other-problem", "more-problems", "trial-twice", "problem-twice", "no-problem", "mix", "benchmark"],
)
def test_outcomes_that_cannot_be_compared_are_refused_in_one_line(outcomes, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        align_outcomes(outcomes, mixes=["A", "B"], benchmarks=["b"])
    assert "\n" not in str(caught.value)
