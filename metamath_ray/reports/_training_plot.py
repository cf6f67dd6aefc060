"""Line charts over steps: paths for an SVG of 1,000 by 300, ticks as shares of the axes, for any width."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from metamath_ray.reports._figures import integer

WIDTH, HEIGHT = 1000, 300
"""Of the plot in the SVG's own units; the page stretches it."""

_MAX_COLUMNS = 500  # more points than this no screen shows apart
_OUTLIER = 3  # times the 99th percentile: beyond, one step would flatten all others

_MANY = 20  # values, of which one may be called an outlier


@dataclass(frozen=True, slots=True)
class Series:
    """Values over the chart's steps; NaN leaves a gap. `style` is the line's class: raw, main or second."""

    label: str
    style: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis, 0 to 1 from left or bottom, and what stands there."""

    share: float
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """A series as the `d` of an SVG path."""

    label: str
    style: str
    path: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws.

    `marks`: places of vertical lines, 0 to 1. `num_above`: steps beyond the axis, up to `highest`; `num_missing`:
    steps whose value is not finite. `per`: what a step is called.
    """

    title: str
    unit: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[float, ...]
    num_above: int
    highest: float
    num_missing: int
    in_words: str
    per: str = "step"

    @property
    def label_chars(self) -> int:
        """Characters of the longest label of the upright axis."""
        return max(len(tick.label) for tick in self.y_ticks)


def make_chart(
    title: str,
    series: Sequence[Series],
    *,
    steps: Sequence[int],
    marks: Sequence[int] = (),
    unit: str = "",
    from_zero: bool = True,
    per: str = "step",
) -> Chart:
    """A chart of series over the same rising `steps`, with a mark before each step of `marks`."""
    finite = sorted(v for one in series for v in one.values if math.isfinite(v))
    highest = _highest_shown(finite)
    y_axis = Axis.of_values(0.0 if from_zero else min(finite, default=0.0), highest)
    x_axis = Axis.of_steps(steps[0], steps[-1])
    first = series[0].values
    return Chart(
        title=title,
        unit=unit,
        lines=tuple(Line(one.label, one.style, _path(one.values, steps, x_axis, y_axis)) for one in series),
        x_ticks=x_axis.ticks,
        y_ticks=y_axis.ticks,
        marks=tuple(x_axis.share(step - 0.5) for step in marks),
        num_above=sum(value > y_axis.high for value in first),
        highest=finite[-1] if finite else math.nan,
        num_missing=sum(not math.isfinite(value) for value in first),
        in_words=_in_words(title, first, steps, per),
        per=per,
    )


def smooth(values: Sequence[float], window: int) -> list[float]:
    """The mean of up to `window` values around each; those not finite are left out.

    At the beginning the window shrinks on both sides, so that a steep fall is kept; at the end only ahead, so that
    the last value is no single one.
    """
    sums = list(accumulate((value if math.isfinite(value) else 0.0 for value in values), initial=0.0))
    counts = list(accumulate((int(math.isfinite(value)) for value in values), initial=0))
    smoothed = []
    for place in range(len(values)):
        reach = min(window // 2, place)
        start, end = place - reach, min(place + reach + 1, len(values))
        count = counts[end] - counts[start]
        smoothed.append((sums[end] - sums[start]) / count if count else math.nan)
    return smoothed


def compact(value: float) -> str:
    """A value with about four significant digits, no exponent where it reads well without."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 1000:
        return integer(value)
    if value and abs(value) < 1e-3:
        return scientific(value)
    return f"{value:.4g}"


def scientific(value: float, digits: int = 3) -> str:
    """Such as `1.25×10⁻⁵`."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}×{power_of_ten(int(exponent))}"


def power_of_ten(exponent: int) -> str:
    """Such as `10⁻⁵`."""
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high` with a tick at every multiple of `between`."""

    low: float
    high: float
    between: float

    @classmethod
    def of_values(cls, low: float, high: float) -> "Axis":
        """Begins and ends at a tick, and has four or a few more."""
        if high <= low:
            high = low + (abs(low) or 1.0)
        between = _round_step((high - low) / 4)
        first, last = math.floor(low / between + 1e-9), math.ceil(high / between - 1e-9)
        return cls(first * between, last * between, between)

    @classmethod
    def of_steps(cls, first: int, last: int) -> "Axis":
        """Begins and ends at a step, and has up to six ticks or so, at whole numbers."""
        last = max(last, first + 1)
        between = max(_round_step((last - first) / 6), 1.0)
        return cls(first, last, between if between.is_integer() else 5.0)  # else it is 2.5

    @property
    def ticks(self) -> tuple[Tick, ...]:
        first = math.ceil(self.low / self.between - 1e-9)
        last = math.floor(self.high / self.between + 1e-9)
        decimals = next(d for d in range(400) if math.isclose(round(self.between, d), self.between))
        values = [place * self.between + 0.0 for place in range(first, last + 1)]
        return tuple(Tick(self.share(value), f"{value:,.{decimals}f}") for value in values)

    def share(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)


def _highest_shown(finite: Sequence[float]) -> float:
    """The largest value, or a little above the 99th percentile where a few values lie far beyond it."""
    if not finite:
        return 1.0
    usual = finite[math.floor(0.99 * (len(finite) - 1))]
    is_far = len(finite) >= _MANY and 0 < _OUTLIER * usual < finite[-1]
    return 1.2 * usual if is_far else finite[-1]


def _round_step(width: float) -> float:
    """The smallest of 1, 2, 2.5, 5 and 10 times a power of ten that is not below `width`."""
    scale: float = 10.0 ** math.floor(math.log10(width))
    return next(step * scale for step in (1, 2, 2.5, 5, 10) if step * scale >= width * (1 - 1e-9))


def _path(values: Sequence[float], steps: Sequence[int], x_axis: Axis, y_axis: Axis) -> str:
    parts: list[str] = []
    begins = True
    for step, value in _thin(values, steps):
        if math.isfinite(value):
            x, y = x_axis.share(step) * WIDTH, (1 - y_axis.share(value)) * HEIGHT
            parts.append(f"M{x:.1f} {y:.1f}h0" if begins else f"L{x:.1f} {y:.1f}")  # h0: one point is a dot
        begins = not math.isfinite(value)
    return "".join(parts)


def _thin(values: Sequence[float], steps: Sequence[int]) -> Iterator[tuple[int, float]]:
    """All points, or the lowest and the highest of each column, so that no spike is lost."""
    size = math.ceil(len(values) / _MAX_COLUMNS)
    if size <= 2:
        yield from zip(steps, values, strict=True)
        return
    for start in range(0, len(values), size):
        column = range(start, min(start + size, len(values)))
        finite = [place for place in column if math.isfinite(values[place])]
        ends = {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)} if finite else ()
        gap = [column[0]] if len(finite) == 0 else []
        yield from ((steps[place], values[place]) for place in sorted([*ends, *gap]))


def _in_words(title: str, values: Sequence[float], steps: Sequence[int], per: str) -> str:
    points = [(value, step) for value, step in zip(values, steps, strict=True) if math.isfinite(value)]
    if not points:
        return f"{title}: no value"
    (low, low_step), (high, high_step) = min(points), max(points)
    return (
        f"{title}: {compact(points[0][0])} at {per} {points[0][1]:,}, {compact(points[-1][0])} at {per} "
        f"{points[-1][1]:,}; lowest {compact(low)} at {per} {low_step:,}, highest {compact(high)} at {per} "
        f"{high_step:,}"
    )
