"""Ctrl-C and SIGTERM end a job soon, with all that it has started."""

import os
import signal
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType

INTERRUPTED = 130
"""The exit code of a job that was interrupted."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_on_signals(message: str, *, patience_s: float = 30.0) -> None:
    """From now on Ctrl-C and SIGTERM print `message`, a line, and raise `KeyboardInterrupt` in the main thread.

    Where the process is still there `patience_s` later, or is told a second time, it and all processes below it are
    killed, with the exit code `INTERRUPTED`. For a job's main thread; a second call replaces the first.
    """
    interrupted = threading.Event()
    threading.Thread(target=_watch, args=(interrupted, patience_s), daemon=True).start()
    start = "\r\033[K" if sys.stderr.isatty() else ""

    def begin(number: int, frame: FrameType | None) -> None:
        for one in _SIGNALS:
            signal.signal(one, lambda number, frame: end_now())
        interrupted.set()
        os.write(2, f"{start}{message}\n".encode())  # a print may be what was interrupted
        raise KeyboardInterrupt

    for one in _SIGNALS:
        signal.signal(one, begin)


def end_now() -> None:
    """Kill every process below this one, then end this one."""
    for pid in _find_below(os.getpid()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it ended by itself
            continue
    os._exit(INTERRUPTED)


def _watch(interrupted: threading.Event, patience_s: float) -> None:
    interrupted.wait()
    time.sleep(patience_s)
    end_now()


def _find_below(pid: int) -> list[int]:
    """Children of `pid`, and theirs, and so on."""
    children = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        children[int(fields[1])].append(int(path.parent.name))
    found = [*children[pid]]
    for one in found:  # grows as it goes
        found += children[one]
    return found
