"""The course of a build: calls, tokens and refusals a minute over the time that it ran, all its starts in a row."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from metamath_ray.reports._run import Record
from metamath_ray.reports._training_plot import Chart, Series, make_chart

FILE = "timeline.jsonl"

_MOST_POINTS = 240
_MINUTES_FROM_S = 1800


class TimelineLine(Record):
    """Totals since a start, at a time; `allowed_per_minute` None where there is no limit."""

    time: float
    is_start: bool
    calls: int
    tokens: int
    http_429: int
    allowed_per_minute: float | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """What the page shows: totals of all starts, the time they ran, and the charts over that time."""

    num_starts: int
    seconds: float
    calls: int
    http_429: int
    charts: tuple[Chart, ...]


@dataclass(frozen=True, slots=True)
class _Point:
    """What happened in the `seconds` that end at `at`, in seconds of running."""

    at: float
    seconds: float
    calls: int
    tokens: int
    http_429: int
    allowed: float


def load_timeline(path: Path) -> Timeline | None:
    """The timeline in `path`; None where there is none, or no call was made. Lines that were cut are left out."""
    if not path.is_file():
        return None
    starts = _split([line for text in path.read_text("utf-8").splitlines() for line in _parse(text)])
    seconds = sum(lines[-1].time - lines[0].time for lines in starts)
    calls = sum(lines[-1].calls for lines in starts)
    if not calls or seconds <= 0:
        return None
    refused = sum(lines[-1].http_429 for lines in starts)
    return Timeline(len(starts), seconds, calls, refused, _charts(starts, seconds))


def _parse(text: str) -> list[TimelineLine]:
    try:
        return [TimelineLine.model_validate(json.loads(text))] if text else []
    except (json.JSONDecodeError, ValidationError):  # a crash has cut it
        return []


def _split(lines: Sequence[TimelineLine]) -> list[list[TimelineLine]]:
    starts: list[list[TimelineLine]] = []
    for line in lines:
        if line.is_start or not starts:
            starts.append([])
        starts[-1].append(line)
    return starts


def _charts(starts: Sequence[Sequence[TimelineLine]], seconds: float) -> tuple[Chart, ...]:
    unit, unit_s = ("minutes", 60.0) if seconds >= _MINUTES_FROM_S else ("seconds", 1.0)
    points: list[_Point] = []
    begins: list[float] = []
    at = 0.0
    for lines in starts:
        begins.append(at)
        points += _points(lines, begins_at=at, width=max(seconds / _MOST_POINTS, unit_s))
        at += lines[-1].time - lines[0].time
    places = [round(point.at / unit_s) for point in points]
    marks = [round(begin / unit_s) for begin in begins[1:]]
    allowed = [point.allowed for point in points]
    limits = [Series("allowed", "second", allowed)] if any(map(math.isfinite, allowed)) else []
    series = {
        "Calls": [Series("answered", "main", [_a_minute(p.calls, p) for p in points]), *limits],
        "Tokens": [Series("prompt and completion", "main", [_a_minute(p.tokens, p) for p in points])],
        "Too many requests (429)": [Series("refused", "main", [_a_minute(p.http_429, p) for p in points])],
    }
    return tuple(
        make_chart(
            title, one, steps=places, marks=marks, unit=f"a minute, over {unit} of running", per="point"
        )
        for title, one in series.items()
    )


def _points(lines: Sequence[TimelineLine], *, begins_at: float, width: float) -> list[_Point]:
    """The differences between lines, several taken together until they span `width` seconds."""
    points: list[_Point] = []
    last = lines[0]
    for line in lines[1:]:
        span = line.time - last.time
        if span <= 0 or (span < width and line is not lines[-1]):
            continue
        points.append(
            _Point(
                at=begins_at + line.time - lines[0].time,
                seconds=span,
                calls=line.calls - last.calls,
                tokens=line.tokens - last.tokens,
                http_429=line.http_429 - last.http_429,
                allowed=math.nan if line.allowed_per_minute is None else line.allowed_per_minute,
            )
        )
        last = line
    return points


def _a_minute(count: int, point: _Point) -> float:
    return count / point.seconds * 60
