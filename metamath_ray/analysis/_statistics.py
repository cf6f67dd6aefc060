"""Intervals of the analyses: of means, shares, ratios and correlations. All are 95 % intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

Z_95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Interval:
    """The two ends of a 95 % interval."""

    low: float
    high: float


def mean_interval(values: Floats) -> Interval | None:
    """The normal interval of a mean of independent values; None for fewer than two."""
    if len(values) < 2:
        return None
    mean, spread = float(values.mean()), Z_95 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(mean - spread, mean + spread)


def ratio_interval(parts: Floats, wholes: Floats) -> Interval | None:
    """The interval of `sum(parts) / sum(wholes)` over independent rows, by the delta method."""
    if len(parts) < 2:
        return None
    ratio = float(parts.sum() / wholes.sum())
    residual = parts - ratio * wholes
    spread = Z_95 * math.sqrt(len(parts) * float(residual.var(ddof=1))) / float(wholes.sum())
    return Interval(ratio - spread, ratio + spread)


def wilson_interval(successes: int, trials: int) -> Interval:
    """The score interval of a share (Wilson 1927); 0 to 1 without a trial."""
    if trials == 0:
        return Interval(0.0, 1.0)
    share, z_squared = successes / trials, Z_95**2
    centre = share + z_squared / (2 * trials)
    spread = Z_95 * math.sqrt(share * (1 - share) / trials + z_squared / (4 * trials**2))
    scale = 1 + z_squared / trials
    return Interval(max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale))


def difference_interval(first: tuple[int, int], second: tuple[int, int]) -> Interval:
    """Of share(first) - share(second), each (successes, trials) of its own items (Newcombe 1998, method 10)."""
    one, other = first[0] / first[1], second[0] / second[1]
    of_one, of_other = wilson_interval(*first), wilson_interval(*second)
    below = math.hypot(one - of_one.low, of_other.high - other)
    above = math.hypot(of_one.high - one, other - of_other.low)
    return Interval(one - other - below, one - other + above)


def pearson(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The correlation of two columns. Raises `ValueError` where one of them does not vary."""
    x, y = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float(x @ x) * float(y @ y))
    if scale == 0:
        raise ValueError("a correlation needs values that vary, got the same one throughout")
    return max(-1.0, min(1.0, float(x @ y) / scale))


def pearson_interval(correlation: float, num_points: int) -> Interval | None:
    """Fisher's interval for points drawn from a normal distribution; None for fewer than four points."""
    if num_points < 4:
        return None
    if abs(correlation) == 1.0:
        return Interval(correlation, correlation)
    centre, spread = math.atanh(correlation), Z_95 / math.sqrt(num_points - 3)
    return Interval(math.tanh(centre - spread), math.tanh(centre + spread))
