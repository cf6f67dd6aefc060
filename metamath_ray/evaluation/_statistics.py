"""The statistics of an evaluation: intervals, a paired test, and estimates from several samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

Item = TypeVar("Item")

Z_95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval of a share or of a difference of shares."""

    low: float
    high: float


def wilson_interval(successes: float, trials: int) -> Interval:
    """The 95 % score interval of a share (Wilson 1927); 0 to 1 without a trial.

    `successes` may be a sum of chances of 0 to 1: the interval is then too wide, if anything.
    """
    assert 0 <= successes <= trials
    if trials == 0:
        return Interval(0.0, 1.0)
    share, z_squared = successes / trials, Z_95**2
    centre = share + z_squared / (2 * trials)
    spread = Z_95 * math.sqrt(share * (1 - share) / trials + z_squared / (4 * trials**2))
    scale = 1 + z_squared / trials
    low = 0.0 if successes == 0 else max(0.0, (centre - spread) / scale)
    high = 1.0 if successes == trials else min(1.0, (centre + spread) / scale)
    return Interval(low, high)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """The two-sided p-value that neither is better, from the items that only one of two got right.

    The exact binomial test of McNemar, not its chi-squared approximation; 1.0 without such an item.
    """
    discordant = only_first + only_second
    tail = 0
    term = 1
    for number in range(min(only_first, only_second) + 1):
        tail += term
        term = term * (discordant - number) // (number + 1)
    return min(1.0, 2 * tail / (1 << discordant))  # Python divides integers of any size, exactly rounded


def paired_difference_interval(only_first: int, only_second: int, trials: int) -> Interval:
    """The 95 % interval of share(second) - share(first) on the same items; -1 to 1 without an item.

    The adjusted Wald interval of Bonett and Price (2012), which keeps its coverage for few items too.
    """
    assert 0 <= only_first + only_second <= trials
    if trials == 0:
        return Interval(-1.0, 1.0)
    first, second = (only_first + 1) / (trials + 2), (only_second + 1) / (trials + 2)
    centre = second - first
    spread = Z_95 * math.sqrt(max(0.0, first + second - centre**2) / (trials + 2))
    return Interval(max(-1.0, centre - spread), min(1.0, centre + spread))


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that k of the samples, drawn without replacement, hold a correct one.

    The unbiased estimate `1 - C(n - c, k) / C(n, k)` of Chen et al. 2021.
    """
    assert 0 <= correct <= samples
    assert 1 <= k <= samples
    if samples - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / number for number in range(samples - correct + 1, samples + 1))


def split_in_thirds(items: Sequence[Item]) -> tuple[Sequence[Item], Sequence[Item], Sequence[Item]]:
    """Three runs of the items whose sizes differ by one at most."""
    first, second = len(items) // 3, 2 * len(items) // 3
    return items[:first], items[first:second], items[second:]


def counts_of_k(samples: int) -> tuple[int, ...]:
    """The k for which pass@k and maj@k are given: 1, 2, 4, … and the number of samples itself."""
    powers = [1 << power for power in range(samples.bit_length())]
    return tuple(sorted({*powers, samples})) if samples else ()
