"""A line of Ray's core on a driver's standard error, past Python's logging, that says nothing of the run."""

import atexit
import os
import subprocess
import sys
from contextlib import suppress

NOISE = b"has constructor arguments in the object store and max_restarts > 0"
"""Ray warns so of every pool of actors that Ray Data starts. The arguments meant are Ray Data's own (transform and
context). It holds both, on the driver's node, for as long as the pool lives: an actor that is started again
finds them, and without the driver's node there is no run to go on with.

Ray has no plainer way: Ray Data always hands both over by reference; `max_restarts=0` would lose the work of a
killed actor; `RAY_BACKEND_LOG_LEVEL=fatal` would silence all errors of Ray's core, also why it ends a driver."""

_END_S = 5.0


def hide_noise() -> None:
    """Send this process's standard error through a filter in a process of its own: last words come out."""
    try:
        shown = os.dup(2)
    except OSError:  # there is none
        return
    reader, writer = os.pipe()
    command = [sys.executable, "-I", "-S", __file__]
    ours = subprocess.Popen(command, stdin=reader, stdout=shown, start_new_session=True)  # noqa: S603  # this file
    os.close(reader)
    sys.stderr.flush()
    os.dup2(writer, 2)
    os.close(writer)
    atexit.register(_show_the_rest, shown, ours)


def _show_the_rest(shown: int, ours: subprocess.Popen[bytes]) -> None:
    """So that the job's last word is there before the job ends."""
    sys.stderr.flush()
    os.dup2(shown, 2)
    with suppress(subprocess.TimeoutExpired):  # a process that outlives the job may hold the other end
        ours.wait(_END_S)


def _copy_lines() -> None:
    for line in sys.stdin.buffer:
        if NOISE not in line:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    _copy_lines()
