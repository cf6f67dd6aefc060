"""What a local Ray does beside an engine, made small.

The threads of an engine on CPU spin while they wait for each other: whatever takes one's core for a moment holds them
all. Measured by `tests/benchmarks/evaluation/bench_serving.py`.
"""

import os
from collections.abc import Iterator

import psutil

_CALM = {
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "1",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
    "REPORTER_UPDATE_INTERVAL_MS": "30000",
    "RAY_enable_metrics_collection": "0",
}
_NICENESS = 10


def ask_for_calm() -> None:
    """Let a Ray that this process starts later do half of what it would do while idle."""
    for name, value in _CALM.items():
        os.environ.setdefault(name, value)


def yield_to_engines() -> None:
    """Let the Ray that this process has started give way to the replicas that run."""
    for process in _find_background(psutil.Process()):
        try:
            process.nice(_NICENESS)
        except psutil.Error:  # it has ended
            continue


def _find_background(process: psutil.Process) -> Iterator[psutil.Process]:
    """Ray's processes below this one, without its replicas, and without the raylet: its workers inherit that."""
    for child in process.children():
        try:
            command = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if "/raylet/raylet " in command:
            yield from _find_background(child)
        elif command.startswith("ray::ServeReplica"):
            continue
        elif command.startswith("ray::") or "/ray/" in command:
            yield child
