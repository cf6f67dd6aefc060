"""Charts over steps: axes that a person can read, no spike lost."""

import math
import re

import pytest

from metamath_ray.reports._training_plot import HEIGHT, WIDTH, Series, compact, make_chart, scientific, smooth


def points_of(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


@pytest.mark.parametrize(
    ("values", "from_zero", "labels"),
    [
        pytest.param([0.6, 1.45], False, ["0.50", "0.75", "1.00", "1.25", "1.50"], id="quarters"),
        pytest.param([0.6, 1.4], False, ["0.6", "0.8", "1.0", "1.2", "1.4"], id="fifths"),
        pytest.param([310.0, 395.0], True, ["0", "100", "200", "300", "400"], id="from zero"),
        pytest.param([2.0, 2.0], False, ["2.0", "2.5", "3.0", "3.5", "4.0"], id="a constant"),
        pytest.param([0.0, 0.0], True, ["0.00", "0.25", "0.50", "0.75", "1.00"], id="all zero"),
        pytest.param([0.0, 15_000.0], True, ["0", "5,000", "10,000", "15,000"], id="thousands"),
        pytest.param([math.nan], True, ["0.00", "0.25", "0.50", "0.75", "1.00"], id="no value"),
    ],
)
def test_ticks_are_round(values: list[float], from_zero: bool, labels: list[str]) -> None:
    chart = make_chart(
        "Loss", [Series("", "main", values)], steps=range(1, len(values) + 1), from_zero=from_zero
    )
    assert [tick.label for tick in chart.y_ticks] == labels
    assert [tick.share for tick in chart.y_ticks] == sorted(tick.share for tick in chart.y_ticks)
    assert chart.label_chars == len(labels[-1])


@pytest.mark.parametrize(
    ("last", "labels"),
    [
        (1, ["1", "2"]),
        (7, ["1", "2", "3", "4", "5", "6", "7"]),
        (14, ["5", "10"]),
        (300, ["50", "100", "150", "200", "250", "300"]),
        (20_000, ["5,000", "10,000", "15,000", "20,000"]),
    ],
    ids=str,
)
def test_steps_are_whole_numbers(last: int, labels: list[str]) -> None:
    steps = range(1, last + 1)
    chart = make_chart("Loss", [Series("", "main", [1.0] * last)], steps=steps)
    assert [tick.label for tick in chart.x_ticks] == labels


def test_points_lie_where_axes_say() -> None:
    chart = make_chart("Rate", [Series("", "main", [0.0, 1.0, 4.0])], steps=[1, 2, 3])
    assert points_of(chart.lines[0].path) == [(0, HEIGHT), (WIDTH / 2, HEIGHT * 3 / 4), (WIDTH, 0)]


def test_a_value_that_is_not_finite_leaves_a_gap() -> None:
    values = [1.0, 2.0, math.nan, 3.0, math.inf, 1.0]
    chart = make_chart("Loss", [Series("", "main", values)], steps=range(6))
    assert [part.count("L") for part in chart.lines[0].path.split("M")[1:]] == [1, 0, 0]
    assert chart.num_missing == 2


@pytest.mark.parametrize("place", [0, 1, 7_777, 19_999], ids=str)
def test_thinning_keeps_every_spike(place: int) -> None:
    values = [1.0] * 20_000
    values[place] = 2.0
    chart = make_chart("Loss", [Series("", "raw", values)], steps=range(1, 20_001))
    points = points_of(chart.lines[0].path)
    assert len(points) <= 1_000
    assert min(points, key=lambda point: point[1])[0] == pytest.approx(WIDTH * place / 19_999, abs=0.06)


def test_a_lone_outlier_does_not_flatten_the_rest() -> None:
    chart = make_chart("Norm", [Series("", "raw", [1.0] * 299 + [1e6])], steps=range(300))
    assert (chart.y_ticks[-1].label, chart.num_above, chart.highest) == ("1.5", 1, 1e6)


def test_marks_stand_before_the_first_resumed_step() -> None:
    chart = make_chart("Loss", [Series("", "main", [1.0] * 101)], steps=range(101), marks=[51])
    assert chart.marks == (0.505,)


def test_the_chart_is_told_in_words() -> None:
    chart = make_chart("Loss", [Series("", "main", [1.5, 0.25, 0.5])], steps=[1, 2, 3])
    assert chart.in_words == (
        "Loss: 1.5 at step 1, 0.5 at step 3; lowest 0.25 at step 2, highest 1.5 at step 1"
    )


@pytest.mark.parametrize(
    ("values", "window", "smoothed"),
    [
        pytest.param([], 5, [], id="nothing"),
        pytest.param([3.0, 1.0], 1, [3.0, 1.0], id="window of one"),
        pytest.param([9.0, 3.0, 0.0, 6.0], 3, [9.0, 4.0, 3.0, 3.0], id="shrinks at both ends"),
        pytest.param([1.0, math.nan, 3.0], 3, [1.0, 2.0, 3.0], id="leaves out nan"),
    ],
)
def test_smoothing_is_a_mean_around_each_step(
    values: list[float], window: int, smoothed: list[float]
) -> None:
    assert smooth(values, window) == pytest.approx(smoothed)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (2.5e-6, "2.50×10⁻⁶"), (221.46, "221.5"), (12_345.6, "12,346"), (math.nan, "–")],
    ids=str,
)
def test_values_read_well(value: float, text: str) -> None:
    assert compact(value) == text


def test_exponents_are_raised() -> None:
    assert scientific(1.5e12, 2) == "1.5×10¹²"
