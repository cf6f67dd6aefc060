"""Accuracy of mixes over training seeds and problems, and their paired differences, with bootstrap intervals.

Seeds and problems are resampled each over all of the other, and the two deviations added: both together would count
the chance that lies in a single answer of a single seed up to three times (Owen 2007). A handful of seeds shows too
little of how seeds vary, so their part is scaled to the unbiased variance and given Student's tails: `_seed_parts`.
"""

import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from metamath_ray.ablation._verdicts import MixVerdicts

Floats = npt.NDArray[np.float64]
Over = Literal["seeds and problems", "problems"]

NUM_RESAMPLES = 10_000
_BLOCK = 500  # resamples at a time: their counts of problems stay in tens of megabytes
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval of a share or of a difference of shares."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MixScore:
    """A mix on a benchmark: the mean accuracy over seeds, and each seed's.

    `over` tells what the interval allows for: with one seed it says nothing about how another would come out.
    """

    mix: str
    accuracy: float
    interval: Interval
    over: Over
    by_seed: dict[int, float]


@dataclass(frozen=True, slots=True)
class MixDifference:
    """Mean accuracy of `second` less that of `first`, on the same resampled problems.

    `share_not_above` of the resamples are at or below 0. `p_value` is two-sided, `p_holm` the same after Holm's
    correction over all pairs of the benchmark. Seeds count in `over` only where both mixes have several.
    """

    first: str
    second: str
    difference: float
    interval: Interval
    over: Over
    share_not_above: float
    p_value: float
    p_holm: float


@dataclass(frozen=True, slots=True)
class BenchmarkStatistics:
    """Everything of one benchmark; a difference for every two mixes, each once."""

    benchmark: str
    num_problems: int
    scores: tuple[MixScore, ...]
    differences: tuple[MixDifference, ...]


def compare_mixes(
    benchmark: str, mixes: Mapping[str, MixVerdicts], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> BenchmarkStatistics:
    """The statistics of a benchmark's mixes, which must hold the same problems in the same order.

    The same verdicts and `seed` give the same figures, whichever other mixes there are.
    """
    (num_problems,) = {one.correct.shape[1] for one in mixes.values()}
    resampled = resample_accuracies(benchmark, mixes, num_resamples=num_resamples, seed=seed)
    scores = tuple(_score(mix, one, resampled[mix]) for mix, one in mixes.items())
    return BenchmarkStatistics(benchmark, num_problems, scores, tuple(_differences(mixes, resampled)))


def resample_accuracies(
    benchmark: str, mixes: Mapping[str, MixVerdicts], *, num_resamples: int, seed: int
) -> dict[str, Floats]:
    """By mix, its accuracy in each resample; resample b has the same problems in every mix, other seeds in each."""
    by_problem = np.column_stack([one.correct.sum(axis=0) for one in mixes.values()]).astype(np.float32)
    sums = np.concatenate([
        counts @ by_problem  # whole numbers below 2**24, exact in float32
        for counts in _problem_counts(_generator(seed, benchmark), len(by_problem), num_resamples)
    ]).astype(np.float64)  # fmt: skip
    resampled = {}
    for place, (mix, one) in enumerate(mixes.items()):
        seed_parts = _seed_parts(_generator(seed, benchmark, mix), one.correct.mean(axis=1), num_resamples)
        resampled[mix] = sums[:, place] / one.correct.size + seed_parts
    return resampled


def correct_by_holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's step-down correction (1979) for as many tests as there are."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _generator(seed: int, *names: str) -> np.random.Generator:
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def _problem_counts(
    generator: np.random.Generator, num_problems: int, num_resamples: int
) -> Iterator[npt.NDArray[np.float32]]:
    """How often each resample drew each problem, in blocks of resamples."""
    for start in range(0, num_resamples, _BLOCK):
        size = min(_BLOCK, num_resamples - start)
        drawn = generator.integers(num_problems, size=(size, num_problems))
        places = (drawn + num_problems * np.arange(size)[:, None]).ravel()
        counts = np.bincount(places, minlength=size * num_problems)
        yield counts.reshape(size, num_problems).astype(np.float32)


def _seed_parts(generator: np.random.Generator, accuracies: Floats, num_resamples: int) -> Floats:
    """What the draw of seeds adds to each resample: 0 for a single seed.

    The mean deviation of resampled seeds has (n - 1) / n of the unbiased variance and hardly any tail when n is
    small: it is scaled to that variance, and divided as Student's t by the root of a chi-squared over its degrees.
    """
    num_seeds = len(accuracies)
    if num_seeds == 1:
        return np.zeros(num_resamples)
    deviations = accuracies - accuracies.mean()
    drawn = generator.integers(num_seeds, size=(num_resamples, num_seeds))
    degrees = num_seeds - 1
    student = np.sqrt(degrees / generator.chisquare(degrees, num_resamples))
    parts: Floats = deviations[drawn].mean(axis=1) * np.sqrt(num_seeds / degrees) * student
    return parts


def _score(mix: str, verdicts: MixVerdicts, resampled: Floats) -> MixScore:
    accuracy = float(verdicts.correct.mean())
    by_seed = dict(zip(verdicts.seeds, verdicts.correct.mean(axis=1).tolist(), strict=True))
    unseen = _unseen(verdicts.correct.shape[1])
    interval = _interval(resampled, accuracy, unseen=unseen, low=0.0)
    return MixScore(mix, accuracy, interval, _over(verdicts), by_seed)


def _differences(
    mixes: Mapping[str, MixVerdicts], resampled: Mapping[str, Floats]
) -> Iterator[MixDifference]:
    pairs = list(itertools.combinations(mixes, 2))
    p_values = [_p_value(mixes[a], mixes[b], resampled[b] - resampled[a]) for a, b in pairs]
    for (a, b), p_value, p_holm in zip(pairs, p_values, correct_by_holm(p_values), strict=True):
        differences = resampled[b] - resampled[a]
        difference = float(mixes[b].correct.mean() - mixes[a].correct.mean())
        unseen = _unseen(mixes[a].correct.shape[1]) * (1 + abs(difference))
        yield MixDifference(
            first=a,
            second=b,
            difference=difference,
            interval=_interval(differences, difference, unseen=unseen, low=-1.0),
            over=_over(mixes[a], mixes[b]),
            share_not_above=float((differences <= 0).mean()),
            p_value=p_value,
            p_holm=p_holm,
        )


def _over(*verdicts: MixVerdicts) -> Over:
    return "seeds and problems" if min(len(one.seeds) for one in verdicts) > 1 else "problems"


def _unseen(num_problems: int) -> float:
    """The largest share of problems, at 95 %, of a kind that did not come up once (Clopper and Pearson 1934)."""
    return float(1 - _TAIL ** (1 / num_problems))


def _interval(resampled: Floats, figure: float, *, unseen: float, low: float) -> Interval:
    """The middle 95 % of the resamples, from `low` to 1.

    Where all are alike (nothing right, or everything), the bootstrap knows of nothing else: then `unseen` each way.
    """
    first, last = (float(end) for end in np.quantile(resampled, [_TAIL, 1 - _TAIL]))
    if np.ptp(resampled) == 0:
        first, last = figure - unseen, figure + unseen
    return Interval(max(first, low), min(last, 1.0))


def _p_value(first: MixVerdicts, second: MixVerdicts, differences: Floats) -> float:
    """Twice the smaller share of resamples on one side of 0, but no less than a sign test could give.

    The latter keeps a few problems, all of which speak for one mix, from giving certainty.
    """
    above, below = int((differences >= 0).sum()), int((differences <= 0).sum())
    resampled = 2 * (min(above, below) + 1) / (len(differences) + 1)
    num_unlike = int((first.correct.mean(axis=0) != second.correct.mean(axis=0)).sum())
    return float(min(1.0, max(resampled, 2.0 ** (1 - num_unlike))))
