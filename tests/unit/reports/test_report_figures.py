"""Numbers as they are written, histograms, shares of a sample, and options without secrets."""

from collections import Counter

import pytest

from metamath_ray.reports._figures import dollars, duration, integer, make_histogram, percent, points
from metamath_ray.reports._scan import share_out
from metamath_ray.reports._shown_options import shown_options


@pytest.mark.parametrize(
    ("written", "text"),
    [
        pytest.param(integer(1234567), "1,234,567", id="count"),
        pytest.param(integer(None), "–", id="no count"),
        pytest.param(percent(1 / 3), "33.3 %", id="share"),
        pytest.param(points(0.664), "+0.66", id="more points"),
        pytest.param(points(-2.5), "\N{MINUS SIGN}2.50", id="fewer points"),
        pytest.param(points(-0.001), "0.00", id="no points to speak of"),
        pytest.param(dollars(0), "$0.00", id="nothing"),
        pytest.param(dollars(1234.5), "$1,234.50", id="dollars"),
        pytest.param(dollars(0.00123), "$0.0012", id="less than a cent"),
        pytest.param(duration(5.25), "5.2 s", id="seconds"),
        pytest.param(duration(61), "1 min 1 s", id="minutes"),
        pytest.param(duration(59.97), "1 min 0 s", id="just below a minute"),
        pytest.param(duration(3599.7), "1 h 0 min", id="just below an hour"),
        pytest.param(duration(90_000), "25 h 0 min", id="days"),
    ],
)
def test_figures_are_written_for_people(written: str, text: str) -> None:
    assert written == text


@pytest.mark.parametrize(
    "lengths",
    [
        pytest.param({1: 5}, id="one length"),
        pytest.param({0: 1}, id="empty texts"),
        pytest.param(dict.fromkeys(range(1000), 1), id="even"),
        pytest.param({100: 1000, 1_000_000: 1}, id="one very long"),
    ],
)
def test_a_histogram_counts_every_text_once(lengths: dict[int, int]) -> None:
    histogram = make_histogram([Counter(lengths), Counter({3: 2})])
    assert histogram
    assert sum(sum(bar.counts) for bar in histogram.bars) == sum(lengths.values()) + 2
    assert len(histogram.bars) <= 32
    assert histogram.longest == max(*lengths, 3)


def test_no_lengths_make_no_histogram() -> None:
    assert make_histogram([Counter(), Counter()]) is None


def test_small_strata_are_taken_whole_and_the_rest_shares_equally() -> None:
    sizes = {("A", "correct"): 1000, ("A", "failed"): 3, ("B", "correct"): 500}
    assert share_out(sizes, 101) == {("A", "failed"): 3, ("B", "correct"): 49, ("A", "correct"): 49}


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        pytest.param({"teacher": {"api_key": "s"}}, [("teacher.api_key", "(not shown)")], id="key"),
        pytest.param({"hf-token": "s"}, [("hf-token", "(not shown)")], id="token"),
        pytest.param({"max_tokens": 5}, [("max_tokens", "5")], id="token counts are no secret"),
        pytest.param({"url": "https://a:b@host:1/v1?k=s#f"}, [("url", "https://host:1/v1")], id="url"),
        pytest.param({"seeds": ["a", "b"], "plan": False}, [("seeds", "a, b"), ("plan", "no")], id="plain"),
        pytest.param(
            {"targets": {}, "rpm": None, "ledger": []},
            [(n, "–") for n in ("targets", "rpm", "ledger")],
            id="empty",
        ),
    ],
)
def test_options_are_shown_without_secrets(config: dict[str, object], shown: list[tuple[str, str]]) -> None:
    assert shown_options(config) == shown
