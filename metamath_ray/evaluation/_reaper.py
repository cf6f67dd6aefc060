"""Ends what an engine leaves behind when the process that started it is killed.

Run as a script by path, with the standard library only: a process of its own that outlives its starter. It reads its
standard input, whose other end only the starter holds: its end means that the starter is dead, however it died.
vLLM's engine core and workers then still run, and hold memory and cores.
"""

import os
import signal
import sys
import time
from pathlib import Path

MARKER = "METAMATH_RAY_ENGINE"
"""Environment variable that every process below the starter inherits; its value is the engine's own."""

_PATIENCE_S = 3.0


def main(value: str) -> None:
    """Wait for the end of standard input, then end every process that carries the marker with this value."""
    if os.fork():
        os._exit(0)  # to be nobody's child: Ray kills the children of a worker that it stops
    while sys.stdin.buffer.read(4096):
        pass
    end_marked(value)


def end_marked(value: str) -> list[int]:
    """Ask the marked processes to end, kill those that stay, and give the pids of all."""
    found = find_marked(value)
    _send(found, signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and find_marked(value):
        time.sleep(0.1)
    left = find_marked(value)
    _send(left, signal.SIGKILL)
    return sorted({*found, *left})


def find_marked(value: str) -> list[int]:
    """Pids of all processes but this one whose environment has the marker with this value."""
    wanted = f"{MARKER}={value}".encode()
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is another user's
            continue
        if wanted in variables and int(folder.name) != os.getpid():
            pids.append(int(folder.name))
    return pids


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main(sys.argv[1])
