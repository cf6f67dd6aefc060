"""What a build writes down of its course, over all its starts."""

import json
import time
from pathlib import Path

from metamath_ray.bootstrap._timeline import record_timeline
from metamath_ray.teacher import Counters, EndpointStatus, GovernorStatus


def status(calls: int, rpm: float | None = 600.0, out: str | None = None) -> GovernorStatus:
    counters = Counters(calls_made=calls, prompt_tokens=70 * calls, completion_tokens=30 * calls, http_429=1)
    slowed, other = (
        EndpointStatus(name, calls, 0, 1, rpm, None, factor, 0.0, reason)
        for name, factor, reason in (("a", 0.5, None), ("b", 1.0, out))
    )
    return GovernorStatus(counters, 2, 0, None, {}, (slowed, other))


def lines_of(path: Path) -> list[dict]:
    return [
        json.loads(line) for line in path.read_text().splitlines() if line.startswith("{") and line[-1] == "}"
    ]


def test_every_start_adds_its_lines_and_a_cut_one_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "timeline.jsonl"
    with record_timeline(path, lambda: status(3), every_s=60):
        pass
    path.write_text(path.read_text() + '{"time": 1, "ca')
    asked = iter(range(5, 1000))
    with record_timeline(path, lambda: status(next(asked)), every_s=0.01):
        patience = time.monotonic() + 60
        while len(lines_of(path)) < 5 and time.monotonic() < patience:
            time.sleep(0.01)
    lines = lines_of(path)
    assert [line["is_start"] for line in lines[:4]] == [True, False, True, False]
    assert lines[0] | {"time": 0} == {
        "time": 0,
        "is_start": True,
        "calls": 3,
        "tokens": 300,
        "http_429": 1,
        "in_flight": 2,
        "allowed_per_minute": 900,
    }
    assert [line["calls"] for line in lines[2:]] == list(range(5, 3 + len(lines)))


def test_an_endpoint_that_is_out_allows_nothing_and_one_without_limit_anything(tmp_path: Path) -> None:
    path = tmp_path / "timeline.jsonl"
    for told in (status(1, out="no key"), status(1, rpm=None)):
        with record_timeline(path, lambda told=told: told, every_s=60):
            pass
    assert [line["allowed_per_minute"] for line in lines_of(path)] == [300, 300, None, None]


def test_a_timeline_that_cannot_be_written_stops_no_build(tmp_path: Path) -> None:
    with record_timeline(tmp_path / "nowhere" / "timeline.jsonl", lambda: status(1), every_s=60):
        pass
    assert not (tmp_path / "nowhere").exists()
