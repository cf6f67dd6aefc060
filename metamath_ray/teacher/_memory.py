"""What a governor that is started again must know of the one that died: counters by worker, and the stop."""

import json
import os
from dataclasses import astuple
from pathlib import Path

from metamath_ray.teacher._demands import Counters


def save_memory(path: Path, counters: dict[str, Counters], stop: str | None) -> None:
    """Replace the file at once: a reader sees the old or the new state."""
    state = {"stop": stop, "counters": {worker: astuple(sums) for worker, sums in counters.items()}}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(state), encoding="utf-8")
    partial.replace(path)


def load_memory(path: Path) -> tuple[dict[str, Counters], str | None]:
    """Counters by worker, and why the run was stopped, if it was; nothing where no file was written yet."""
    if not path.is_file():
        return {}, None
    state = json.loads(path.read_text(encoding="utf-8"))
    return {worker: Counters(*sums) for worker, sums in state["counters"].items()}, state["stop"]
