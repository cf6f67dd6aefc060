"""The child of a `SymbolicPool`: compares pairs with math-verify, one JSON line in, one out.

Run as `python -m metamath_ray.answers._symbolic_worker TIMEOUT_S MEMORY_MB`. It holds no secret, may
use so much memory, gives a slow pair up by itself, and dies where even that does not help.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import IO, Any

_GRACE_S = 0.5


class _OutOfTime(BaseException):
    """Raised by the alarm; no `Exception`, since sympy and math-verify swallow those."""


def main(timeout_s: float, memory_mb: int) -> None:
    """Answer requests until stdin closes."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    requests = os.fdopen(os.dup(0), "rb")
    _silence()
    compare = _load_math_verify()
    _limit_memory(memory_mb)
    signal.signal(signal.SIGPROF, _give_up)
    _reply(replies, {"ready": True})
    for line in requests:
        request = json.loads(line)
        verdict = _timed(compare, request, timeout_s)
        last = _too_large(memory_mb)
        _reply(replies, {"id": request["id"], "verdict": verdict, "last": last})
        if last:
            return


def _silence() -> None:
    """Point the standard streams at nothing: a print inside sympy must not look like a reply."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


def _limit_memory(memory_mb: int) -> None:
    limit = memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _too_large(memory_mb: int) -> bool:
    """Tell whether this process has come so near its limit that a new one should take over."""
    return _peak_kib() > memory_mb * 1024 * 0.7


def _peak_kib() -> int:
    """The most memory that this program has held; `ru_maxrss` would count the parent's, from before the exec."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def _give_up(signum: int, frame: FrameType | None) -> None:
    raise _OutOfTime


def _timed(compare: Any, request: dict[str, Any], timeout_s: float) -> str:
    # Both count CPU time: a busy machine must not change a verdict.
    signal.setitimer(signal.ITIMER_PROF, timeout_s)
    # The default action of SIGVTALRM ends a process that is deep in C code and sees no exception.
    signal.setitimer(signal.ITIMER_VIRTUAL, timeout_s + _GRACE_S)
    try:
        return str(compare(request["predicted"], request["gold"]))
    except (_OutOfTime, MemoryError, RecursionError):
        return "unknown"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _reply(replies: IO[bytes], message: dict[str, object]) -> None:
    replies.write(json.dumps(message).encode() + b"\n")


def _load_math_verify() -> Any:
    import logging

    from math_verify import LatexExtractionConfig, parse, verify

    logging.disable(logging.CRITICAL)
    sys.set_int_max_str_digits(20_000)
    config = [LatexExtractionConfig(boxed_match_priority=-1)]

    def read(text: str) -> Any:
        return parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=0)

    def compare(predicted: str, gold: str) -> str:
        first, second = read(predicted), read(gold)
        if not first or not second:
            return "unreadable"
        same = verify(second, first, float_rounding=12, numeric_precision=60, timeout_seconds=None)
        return "correct" if same else "incorrect"

    compare("x+1", "1+x")  # the first parse builds tables: it belongs to the start, not to a pair's time
    return compare


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
