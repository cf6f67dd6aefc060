"""The page's calls over time: all starts in a row, and nothing where no call was made."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from metamath_ray.reports import write_build_report
from metamath_ray.reports._timeline import FILE, load_timeline


def write_lines(
    path: Path, starts: Sequence[Sequence[tuple[float, int, int]]], allowed: float | None = 60.0
) -> Path:
    """Starts of (time, calls, 429s)."""
    lines = [
        {
            "time": at,
            "is_start": place == 0,
            "calls": calls,
            "tokens": 500 * calls,
            "http_429": refused,
            "allowed_per_minute": allowed,
        }
        for start in starts
        for place, (at, calls, refused) in enumerate(start)
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


TWO_STARTS = [[(100.0, 0, 0), (110.0, 5, 0), (120.0, 20, 2)], [(9000.0, 0, 0), (9010.0, 10, 1)]]


def test_the_time_between_two_starts_is_left_out(tmp_path: Path) -> None:
    timeline = load_timeline(write_lines(tmp_path / FILE, TWO_STARTS))
    assert timeline is not None
    assert (timeline.num_starts, timeline.seconds, timeline.calls, timeline.http_429) == (2, 30.0, 30, 3)
    calls, tokens, refused = timeline.charts
    assert "30 at point 10, 60 at point 30; lowest 30 at point 10, highest 90 at point 20" in calls.in_words
    assert "15,000 at point 10" in tokens.in_words
    assert "0 at point 10, 6 at point 30" in refused.in_words
    assert [line.label for line in calls.lines] == ["answered", "allowed"]
    assert len(calls.marks) == 1


def test_a_long_run_is_shown_in_minutes_and_few_points(tmp_path: Path) -> None:
    hours = [[(10.0 * place, 5 * place, 0) for place in range(6 * 60 * 10)]]
    timeline = load_timeline(write_lines(tmp_path / FILE, hours, allowed=None))
    assert timeline is not None
    assert "over minutes" in timeline.charts[0].unit
    assert "highest 30 at" in timeline.charts[0].in_words
    assert timeline.charts[0].lines[0].path.count("L") <= 240
    assert [line.label for line in timeline.charts[0].lines] == ["answered"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"time": 1, "ca',
        json.dumps({"time": 5, "is_start": True, "calls": 0, "tokens": 0, "http_429": 0}),
    ],
    ids=["empty", "cut", "no-call"],
)
def test_there_is_no_timeline_without_calls(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert load_timeline(tmp_path / FILE) is None
    assert load_timeline(tmp_path / "missing") is None


def test_the_page_shows_the_timeline_where_there_is_one(run_dir: Path) -> None:
    assert 'id="timeline"' not in write_build_report(run_dir).read_text()
    write_lines(run_dir / FILE, TWO_STARTS)
    page = write_build_report(run_dir).read_text()
    assert "30 calls in 30.0 s of running, 2 starts in a row" in " ".join(page.split())
    assert page.count("<figure") >= 3
    assert 'class="resume"' in page


def test_the_page_says_what_adaptive_sampling_saved(run_dir: Path) -> None:
    assert "sampling-title" not in write_build_report(run_dir).read_text()
    path = run_dir / "summary.json"
    cost = {"rows": 100, "paths": 180, "paths_per_row": 1.8, "usd_per_row": 0.004}
    told = {
        "GSM_AnsAug": cost | {"uniform_paths_per_row": 2.0, "uniform_usd_per_row": 0.0044},
        "GSM_SV": cost | {"uniform_paths_per_row": None, "uniform_usd_per_row": None},
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | {"adaptive_sampling": told}))
    page = write_build_report(run_dir).read_text()
    assert "10.0 %" in page
    assert "<b>1.80</b>" in page
