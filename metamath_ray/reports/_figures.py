"""How numbers are written on the page and the card, and the bars of a histogram."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_BARS = 30
_WIDTHS = (1, 2, 5)
_SHOWN_SHARE = 0.99
_SMALLEST_P = 0.0001


@dataclass(frozen=True, slots=True)
class Bar:
    """Texts of `start` to `end` characters (the last bar: `start` or more), counted for each series."""

    start: int
    end: int
    counts: tuple[int, ...]
    is_last: bool

    @property
    def label(self) -> str:
        """The bar's range in words."""
        return f"{self.start:,} or more" if self.is_last else f"{self.start:,} to {self.end:,}"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars of equal width; the last also holds the longest hundredth. `median` of all series together."""

    bars: tuple[Bar, ...]
    median: int
    longest: int

    @property
    def middle(self) -> int:
        """The length in the middle of the axis."""
        return (self.bars[-1].end + 1) // 2

    @property
    def highest(self) -> int:
        """Texts in the highest bar, all series together."""
        return max(sum(bar.counts) for bar in self.bars)


def make_histogram(series: Sequence[Counter[int]]) -> Histogram | None:
    """The lengths as at most `_BARS` stacked bars of a round width; None where there are none."""
    lengths = sum(series, Counter[int]())
    if not lengths:
        return None
    longest = max(lengths)
    end = _quantile(lengths, _SHOWN_SHARE)
    width = _round_width(end / _BARS)
    num_bars = end // width + 1
    counts = [[0] * len(series) for _ in range(num_bars)]
    for place, one in enumerate(series):
        for length, count in one.items():
            counts[min(length // width, num_bars - 1)][place] += count
    bars = tuple(
        Bar(
            i * width,
            (i + 1) * width - 1,
            tuple(row),
            is_last=i == num_bars - 1 and longest >= num_bars * width,
        )
        for i, row in enumerate(counts)
    )
    return Histogram(bars, _quantile(lengths, 0.5), longest)


def integer(value: float | None) -> str:
    """A count with thousands separators; a dash for None."""
    return "–" if value is None else f"{round(value):,}"


def percent(share: float | None) -> str:
    """A share of 0 to 1 as percent with one decimal; a dash for None."""
    return "–" if share is None else f"{100 * share:.1f} %"


def decimals(value: float | None) -> str:
    """With two decimals, such as `1.79`; a dash for None."""
    return "–" if value is None else f"{value:,.2f}"


def points(value: float) -> str:
    """A difference in percentage points with its sign, such as `+0.66`."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}") if round(value, 2) else "0.00"


def signed_points(share: float) -> str:
    """A difference of shares in percentage points with one decimal and its sign, such as `+6.4`."""
    return f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}")


def p_value(value: float) -> str:
    """A test's p-value with two significant digits; none below `_SMALLEST_P` is told from another."""
    if value < _SMALLEST_P:
        return f"< {_SMALLEST_P}"
    return f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def ratio(part: float, whole: float) -> float | None:
    """`part / whole`; None where there is no whole."""
    return part / whole if whole else None


def dollars(value: float | None) -> str:
    """US dollars: cents, or two significant digits of less than a cent."""
    if value is None:
        return "–"
    if value == 0 or abs(value) >= 0.01:
        return f"${value:,.2f}"
    return f"${value:.{1 - math.floor(math.log10(abs(value)))}f}"


def duration(seconds: float) -> str:
    """A time in its two largest units, such as `1 h 5 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def _quantile(lengths: Counter[int], share: float) -> int:
    wanted = share * lengths.total()
    seen = 0
    for length in sorted(lengths):
        seen += lengths[length]
        if seen >= wanted:
            return length
    raise AssertionError("a share of at most 1 is reached")


def _round_width(width: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, … that is not below `width`."""
    scale = 1
    while True:
        for step in _WIDTHS:
            if step * scale >= width:
                return step * scale
        scale *= 10
