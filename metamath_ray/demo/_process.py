"""A job in a process of its own: its lines as they come, its end with ours."""

import fcntl
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

_SILENCE_S = 15.0
_GRACE_S = 60.0  # for engines and workers to be taken down
_DIE_WITH_US = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGINT); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""PR_SET_PDEATHSIG, then the job: should the demo be killed outright, the job is interrupted and frees its folder.

A demo that runs in the background may ignore SIGINT; the job must not inherit that.
"""

_NOT_OURS = ("RAY_ADDRESS",)  # the demo is this machine's
_ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "HF_HUB_OFFLINE": "1",  # all models are folders here: nothing shall ask the hub about them
    "TQDM_DISABLE": "1",
}


class StepFailedError(RuntimeError):
    """A job ended with another exit code than 0; the text is its own last word, on one line."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return self.message


def run_command(
    command: Sequence[str], *, log: Path, say: Callable[[str], None], silence_s: float = _SILENCE_S
) -> None:
    """Run it to its end; each line of its output goes to `say`, and into the file `log`.

    After `silence_s` without a line, one says that it still runs. An interrupt is passed on, once, and the job
    waited for. A job of the same log that outlives its demo is waited for too. Raises `StepFailedError`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        _await_earlier(file, say)

        def keep(line: str) -> None:
            file.write(line + "\n")
            file.flush()
            say(line)

        last, code = _follow(_start(command, file), keep, say, silence_s)
    if code:
        raise StepFailedError(last or _describe_exit(code), code)


def _await_earlier(log: IO[str], say: Callable[[str], None]) -> None:
    """Lock the log. The job inherits the lock: it is free when both are gone, and with it the job's folder."""
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("this step still ends from an earlier start; waiting for it")
        fcntl.flock(log, fcntl.LOCK_EX)


def _start(command: Sequence[str], log: IO[str]) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-S", "-c", _DIE_WITH_US] if sys.platform == "linux" else []
    return subprocess.Popen(  # noqa: S603  # our own jobs
        [*launcher, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={name: value for name, value in os.environ.items() if name not in _NOT_OURS} | _ENVIRONMENT,
        pass_fds=[log.fileno()],
        start_new_session=True,  # Ctrl-C reaches it through us, once
    )


def _follow(
    process: subprocess.Popen[str], keep: Callable[[str], None], say: Callable[[str], None], silence_s: float
) -> tuple[str, int]:
    """The job's error line, empty without one, and its exit code."""
    assert process.stdout is not None
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    error, started = "", time.monotonic()
    try:
        while (line := _next_line(lines, process, silence_s)) is not None:
            if line:
                keep(line)
                error = line.removeprefix("error: ") if line.startswith("error: ") else error
            else:
                say(f"… {time.monotonic() - started:.0f} s")
        return error, process.wait()
    except KeyboardInterrupt:
        say("stopping: the step takes its workers down first, up to a minute")
        raise
    finally:
        if process.poll() is None:  # interrupted, or nobody takes our lines any more
            _interrupt(process)


def _read(stream: IO[str], lines: "queue.SimpleQueue[str | None]") -> None:
    for line in stream:
        if text := line.rstrip():
            lines.put(text)
    lines.put(None)


def _next_line(
    lines: "queue.SimpleQueue[str | None]", process: subprocess.Popen[str], silence_s: float
) -> str | None:
    """The next line; empty after silence; None at the end, also where a grandchild holds the output open."""
    try:
        return lines.get(timeout=silence_s)
    except queue.Empty:
        return "" if process.poll() is None else None


def _interrupt(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_GRACE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def _describe_exit(code: int) -> str:
    if code == -signal.SIGKILL:
        return "it was killed from outside; the system does that when memory runs out (12 GB are enough for the demo)"
    return f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code} and no reason"
