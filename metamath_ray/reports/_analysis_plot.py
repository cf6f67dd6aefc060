"""Plots of the analyses: spreads on a common axis, histograms of measured values, points with their line."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from metamath_ray.reports._training_plot import HEIGHT, WIDTH, Axis, Tick

_BARS = 40
_SHOWN_SHARE = 0.995  # of the values; the last bar holds the rest too


@dataclass(frozen=True, slots=True)
class Spread:
    """Places from 0 to 1 on the axis: ends (5 and 95 %), quartiles, median, and the figure itself."""

    low: float
    first: float
    median: float
    third: float
    high: float
    figure: float


@dataclass(frozen=True, slots=True)
class Spreads:
    """Groups on one axis, in their order, and the axis' ticks."""

    ticks: tuple[Tick, ...]
    spreads: tuple[Spread, ...]


@dataclass(frozen=True, slots=True)
class ValueBar:
    """Values from `start` to `end` (the last bar: or more), their number, and the height from 0 to 1."""

    label: str
    count: int
    height: float


@dataclass(frozen=True, slots=True)
class ValueHistogram:
    """Bars of equal width from the axis' first tick to its last."""

    bars: tuple[ValueBar, ...]
    ticks: tuple[Tick, ...]
    highest: int
    holds_more: bool


@dataclass(frozen=True, slots=True)
class Point:
    """A labelled point, its places from 0 to 1 from left and bottom."""

    label: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Scatter:
    """Points and their least-squares line as the `d` of an SVG path."""

    points: tuple[Point, ...]
    line: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def label_chars(self) -> int:
        """Characters of the longest label of the upright axis."""
        return max(len(tick.label) for tick in self.y_ticks)


def make_spreads(groups: Iterable[tuple[Sequence[float], float]], *, from_zero: bool = True) -> Spreads:
    """Of each group its five quantiles and its figure, on an axis that holds them all."""
    found = list(groups)
    values = [value for quantiles, figure in found for value in (*quantiles, figure)]
    axis = Axis.of_values(0.0 if from_zero else min(values), max(values))
    return Spreads(axis.ticks, tuple(_spread(axis, quantiles, figure) for quantiles, figure in found))


def _spread(axis: Axis, quantiles: Sequence[float], figure: float) -> Spread:
    low, first, median, third, high = map(axis.share, quantiles)
    return Spread(low, first, median, third, high, axis.share(figure))


def make_value_histogram(values: Sequence[float], *, digits: int = 3) -> ValueHistogram:
    """The values, none below 0, as `_BARS` bars; a few far beyond the others count in the last one."""
    ordered = sorted(values)
    top = ordered[math.floor(_SHOWN_SHARE * (len(ordered) - 1))]
    axis = Axis.of_values(0.0, top)
    counts = [0] * _BARS
    width = (axis.high - axis.low) / _BARS
    for value in ordered:
        counts[min(int((value - axis.low) / width), _BARS - 1)] += 1
    holds_more = ordered[-1] > axis.high
    highest = max(counts)
    bars = []
    for place, count in enumerate(counts):
        start, end = axis.low + place * width, axis.low + (place + 1) * width
        is_open = holds_more and place == _BARS - 1
        label = f"{start:.{digits}f} or more" if is_open else f"{start:.{digits}f} to {end:.{digits}f}"
        bars.append(ValueBar(label, count, count / highest))
    return ValueHistogram(tuple(bars), axis.ticks, highest, holds_more)


def make_scatter(points: Sequence[tuple[str, float, float]], *, slope: float, intercept: float) -> Scatter:
    """The points, and the line `intercept + slope x` between the outermost of them."""
    xs, ys = [x for _, x, _ in points], [y for _, _, y in points]
    x_axis = Axis.of_values(min(0.0, *xs), max(xs))
    ends = (min(xs), max(xs))
    on_line = [intercept + slope * x for x in ends]
    y_axis = Axis.of_values(min(*ys, *on_line), max(*ys, *on_line))
    start, end = (
        f"{x_axis.share(x) * WIDTH:.1f} {(1 - y_axis.share(y)) * HEIGHT:.1f}"
        for x, y in zip(ends, on_line, strict=True)
    )
    return Scatter(
        tuple(Point(label, x_axis.share(x), y_axis.share(y)) for label, x, y in points),
        f"M{start}L{end}",
        x_axis.ticks,
        y_axis.ticks,
    )
