"""Compare pairs with math-verify in subprocesses that can be killed.

Pipes to plain `Popen` children, not multiprocessing: it works in daemonic processes (Ray actors),
off the main thread, under asyncio and pytest, and a child that hangs in C code can be killed.
"""

import atexit
import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal

SymbolicVerdict = Literal["correct", "incorrect", "unreadable", "unknown"]

_MODULE = "metamath_ray.answers._symbolic_worker"
_START_TIMEOUT_S = 120.0
_PATIENCE = 30
"""A child that has answered nothing after so many times its time limit by the clock is stopped, or never runs."""
_MAX_LENGTH = 10_000  # well below a pipe's buffer: writing to a child that hangs must not block
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV")
_VERDICTS: dict[str, SymbolicVerdict] = {
    "correct": "correct", "incorrect": "incorrect", "unreadable": "unreadable", "unknown": "unknown"
}  # fmt: skip


class SymbolicPool:
    """A few math-verify subprocesses behind one thread-safe call.

    Children start at the first use. A pair may take `timeout_s` seconds of CPU time, whatever else the
    machine does: verdicts are the same on a busy one. A child that dies or hangs is killed and replaced, its
    pair is `unknown`. Use as a context manager, or `close()`; what is left open is closed at exit.
    """

    def __init__(self, num_workers: int = 1, timeout_s: float = 2.0, memory_mb: int = 1024) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {num_workers}")
        if timeout_s <= 0:
            raise ValueError(f"timeout_s must be more than 0, got {timeout_s}")
        if memory_mb < 256:
            raise ValueError(f"memory_mb must be at least 256 (sympy alone takes that), got {memory_mb}")
        self.num_workers = num_workers
        self._workers = [_Worker(timeout_s, memory_mb) for _ in range(num_workers)]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._closed = False
        for worker in self._workers:
            self._idle.put(worker)
        atexit.register(self.close)

    def compare(self, predicted: str, gold: str) -> SymbolicVerdict:
        """Give math-verify's verdict on two LaTeX texts; `unreadable` where it cannot parse one.

        Blocks for the time limit at most, once a child runs and gets the CPU. Raises RuntimeError after `close()`,
        and where the child cannot start (math-verify is not installed).
        """
        if self._closed:
            raise RuntimeError("this SymbolicPool is closed")
        if len(predicted) + len(gold) > _MAX_LENGTH:
            return "unreadable"
        worker = self._idle.get()
        try:
            return worker.ask(predicted, gold)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Kill the children and reap them; a second call does nothing."""
        self._closed = True
        atexit.unregister(self.close)
        for worker in self._workers:
            worker.stop()

    def forget(self) -> None:
        """Drop the children without touching them: after a fork they belong to the parent."""
        self._closed = True
        for worker in self._workers:
            worker.abandon()

    def pids(self) -> list[int]:
        """Give the process ids of the children that run now."""
        return [worker.process.pid for worker in self._workers if worker.process is not None]

    def __enter__(self) -> "SymbolicPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Worker:
    """One child and its pipes. One thread at a time asks; `stop` may come from any."""

    def __init__(self, timeout_s: float, memory_mb: int) -> None:
        self.timeout_s = timeout_s
        self.memory_mb = memory_mb
        self.process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._count = 0

    def ask(self, predicted: str, gold: str) -> SymbolicVerdict:
        for _ in range(2):  # a child may have died idle: that is not the pair's fault
            process = self.process or self._start()
            if process is None:
                return "unknown"
            self._count += 1
            request = {"id": self._count, "predicted": predicted, "gold": gold}
            if self._send(process, request):
                break
            self.stop()
        else:
            return "unknown"
        reply = self._receive(process, time.monotonic() + self.timeout_s * _PATIENCE)
        if reply is None or reply.get("id") != self._count:
            self.stop()
            return "unknown"
        if reply.get("last"):  # it ends, and must not be sent the next pair while it does
            self.stop()
        return _VERDICTS.get(str(reply.get("verdict")), "unknown")

    def _start(self) -> subprocess.Popen[bytes] | None:
        """Start a child and wait until it is ready; None where the machine is too busy for that."""
        command = [sys.executable, "-P", "-m", _MODULE, str(self.timeout_s), str(self.memory_mb)]
        process = subprocess.Popen(  # noqa: S603 - our own module, no text of a model in the command
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=_environment(),
            start_new_session=True,
        )
        self.process, self._buffer = process, b""
        ready = self._receive(process, time.monotonic() + _START_TIMEOUT_S)
        if ready is not None:
            return process
        code = _exit_code(process)
        self.stop()
        if code is None:
            return None
        raise RuntimeError(
            f"the symbolic worker ended with code {code} at its start; is math-verify installed? "
            f"Run it by hand: {' '.join(command)}"
        )

    def _send(self, process: subprocess.Popen[bytes], request: dict[str, object]) -> bool:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
        except (BrokenPipeError, ValueError, OSError):
            return False
        return process.poll() is None

    def _receive(self, process: subprocess.Popen[bytes], deadline: float) -> dict[str, object] | None:
        """Read one line; None at the deadline or where the child has closed the pipe."""
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not poller.poll(left * 1000):
                return None
            chunk = os.read(descriptor, 65_536)
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        reply: dict[str, object] = json.loads(line)
        return reply

    def stop(self) -> None:
        """Kill the child and reap it."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        process.wait()
        _close_pipes(process)

    def abandon(self) -> None:
        """Forget a child that is another process's."""
        process, self.process = self.process, None
        if process is not None:
            process.returncode = 0  # so that Popen neither waits for it nor warns
            _close_pipes(process)


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """Give the code of a child that has closed its pipe, None where it still runs."""
    try:
        return process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return None


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _environment() -> dict[str, str]:
    """Give the child what Python needs to start and nothing else: no key, no token."""
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    environment["PYTHONHASHSEED"] = "0"
    return environment


_default: SymbolicPool | None = None
_default_lock = threading.Lock()


def default_pool() -> SymbolicPool:
    """Give this process's own pool of one worker, made at the first call."""
    global _default  # noqa: PLW0603 - one pool a process is the point
    with _default_lock:
        if _default is None:
            _default = SymbolicPool()
        return _default


def _after_fork() -> None:
    global _default, _default_lock  # noqa: PLW0603
    _default_lock = threading.Lock()
    if _default is not None:
        _default.forget()
        _default = None


os.register_at_fork(after_in_child=_after_fork)
