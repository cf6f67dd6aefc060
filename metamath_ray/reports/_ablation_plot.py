"""Plots of an ablation: intervals with their seeds on one axis, the matrix of differences, rows by type as bars."""

from collections.abc import Sequence
from dataclasses import dataclass

from metamath_ray.reports._ablation_run import BenchmarkScores, MixDifference, MixRows, MixScore
from metamath_ray.reports._training_plot import Axis, Tick

_STRONGEST = 55.0  # percent of colour in the cell of the largest difference
_STYLES = 7


@dataclass(frozen=True, slots=True)
class MixDots:
    """A mix's places on the axis, 0 to 1: the interval's ends, the mean, each seed."""

    low: float
    high: float
    mean: float
    seeds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class DotPlot:
    """A benchmark's mixes in their order, on an axis in percent."""

    ticks: tuple[Tick, ...]
    mixes: tuple[MixDots, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A mix (the row) less another (the column): difference and interval as shares, p-value after correction.

    `heat` is the percent of its colour; `seen` tells whether the p-value is below 0.05.
    """

    difference: float
    low: float
    high: float
    p_value: float
    heat: float

    @property
    def seen(self) -> bool:
        """Whether the difference is more than chance would give, by the corrected p-value."""
        return self.p_value < 0.05


@dataclass(frozen=True, slots=True)
class TypePart:
    """Rows of a type in a mix; `style` is the number of the type's colour."""

    type: str
    rows: int
    style: int


@dataclass(frozen=True, slots=True)
class MixBar:
    """A mix's rows by type; `width` is its length against the largest mix's, 0 to 1."""

    mix: MixRows
    width: float
    parts: tuple[TypePart, ...]


def make_dot_plot(scores: Sequence[MixScore]) -> DotPlot:
    """The scores of a benchmark on an axis that holds every interval and seed; it need not begin at 0."""
    values = [
        100 * value
        for score in scores
        for value in (score.interval.low, score.interval.high, *(one.accuracy for one in score.by_seed))
    ]
    axis = Axis.of_values(min(values), max(values))
    return DotPlot(axis.ticks, tuple(_dots(axis, score) for score in scores))


def make_matrix(benchmark: BenchmarkScores) -> list[tuple[str, list[Cell | None]]]:
    """A line for each mix with a cell for each mix, None for itself: the line's mix less the column's."""
    names = [score.mix for score in benchmark.scores]
    largest = max((abs(one.difference) for one in benchmark.differences), default=0.0) or 1.0
    cells: dict[tuple[str, str], Cell] = {}
    for one in benchmark.differences:
        heat = _STRONGEST * abs(one.difference) / largest
        cells[one.second, one.first] = _cell(one, heat)
        cells[one.first, one.second] = _turned(one, heat)
    return [(name, [cells.get((name, other)) for other in names]) for name in names]


def make_type_bars(mixes: Sequence[MixRows]) -> tuple[list[tuple[str, int]], list[MixBar]]:
    """Every type with the number of its colour, and each mix's bar; a type keeps its colour in all bars."""
    types = list(dict.fromkeys(kind for mix in mixes for kind, rows in mix.by_type.items() if rows))
    styles = {kind: place % _STYLES for place, kind in enumerate(types)}
    largest = max((mix.rows for mix in mixes), default=0) or 1
    bars = [
        MixBar(
            mix,
            mix.rows / largest,
            tuple(TypePart(kind, mix.by_type[kind], styles[kind]) for kind in types if mix.by_type.get(kind)),
        )
        for mix in mixes
    ]
    return list(styles.items()), bars


def _dots(axis: Axis, score: MixScore) -> MixDots:
    low, high = axis.share(100 * score.interval.low), axis.share(100 * score.interval.high)
    seeds = tuple(axis.share(100 * one.accuracy) for one in score.by_seed)
    return MixDots(low, high, axis.share(100 * score.accuracy), seeds)


def _cell(one: MixDifference, heat: float) -> Cell:
    return Cell(one.difference, one.interval.low, one.interval.high, one.p_holm, heat)


def _turned(one: MixDifference, heat: float) -> Cell:
    return Cell(-one.difference, -one.interval.high, -one.interval.low, one.p_holm, heat)
