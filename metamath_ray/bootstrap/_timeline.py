"""`timeline.jsonl`: what a build asks of its teacher, over time and over all its starts, for the report's page."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metamath_ray.teacher import GovernorStatus

logger = logging.getLogger(__name__)

EVERY_S = 10.0


@contextmanager
def record_timeline(
    path: Path, ask_status: Callable[[], GovernorStatus], *, every_s: float = EVERY_S
) -> Iterator[None]:
    """Append a line to `path` now, every `every_s` from a thread, and at the end; some 150 bytes each.

    A line holds the time and the totals since this start, which its first line names. Where the file can't be
    written, or the governor does not answer any more, the timeline ends, and the build goes on.
    """
    ended = threading.Event()
    writer = threading.Thread(target=_write, args=(path, ask_status, ended, every_s), daemon=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join(every_s)


def _write(
    path: Path, ask_status: Callable[[], GovernorStatus], ended: threading.Event, every_s: float
) -> None:
    from ray.exceptions import RayError

    try:
        with path.open("a", encoding="utf-8", buffering=1) as file:
            file.write("\n" + _line(ask_status(), is_start=True))  # a line that a crash has cut stays alone
            while not ended.wait(every_s):
                file.write(_line(ask_status()))
            file.write(_line(ask_status()))
    except (OSError, RayError) as error:
        logger.warning("%s ends here: %s", path, error)


def _line(status: GovernorStatus, *, is_start: bool = False) -> str:
    counters = status.counters
    limits = [e.rpm * e.rate_factor if e.rpm else None for e in status.endpoints if e.out is None]
    known = [limit for limit in limits if limit is not None]
    line: dict[str, Any] = {
        "time": round(time.time(), 1),
        "is_start": is_start,
        "calls": counters.calls_made,
        "tokens": counters.tokens,
        "http_429": counters.http_429,
        "in_flight": status.in_flight,
        "allowed_per_minute": round(sum(known)) if len(known) == len(limits) else None,
    }
    return json.dumps(line) + "\n"
