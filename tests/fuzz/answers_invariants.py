"""What must hold for any bytes whatever, as reply, as prediction and as gold.

`check_answers` takes a fuzzer's input; `seed_inputs` gives inputs to start from. Needs no fuzzer: the test
beside it runs the invariants on the seeds, so that the target cannot rot.
"""

import json
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metamath_ray.answers import SymbolicPool, clean_number_paper, equal, extract, find_boxed, grade
from metamath_ray.answers._fixed import equal_cheaply, equal_symbolically

CASES = Path(__file__).resolve().parents[1] / "unit" / "answers" / "cases"
MAX_BYTES = 100_000
MAX_S = 1.0
"""CPU time of everything below on one input of at most `MAX_BYTES`; the symbolic child has its own limit."""
SYMBOLIC_SHARE = 64
"""One undecided pair in so many goes to math-verify, chosen by its bytes, so that a finding can be repeated."""

VERDICTS = frozenset({"correct", "incorrect", "no_answer", "unknown"})
STEPS = frozenset({"none", "string", "number", "symbolic"})
_FORBIDDEN = ("exec", "compile", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "open", "import")
_ATTACKS = (
    "__import__('os').system('touch CANARY')",
    "open('CANARY','w')",
    "\\text{exec(\"open('CANARY','w')\")}",
    "().__class__.__bases__[0].__subclasses__()",
    "$(touch CANARY)`touch CANARY`\\write18{touch CANARY}",
)

_watching = False
_pool: SymbolicPool | None = None


class ExecutedError(AssertionError):
    """Text was executed: an audit event that only running code raises, or the canary file."""


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event.startswith(_FORBIDDEN):
        raise ExecutedError(f"grading raised the audit event {event}{arguments!r}")


sys.addaudithook(_watch)


@contextmanager
def watched() -> Iterator[None]:
    """Refuse, for as long as it is entered, to open, import, compile, execute or connect to anything."""
    global _watching  # noqa: PLW0603 - an audit hook cannot be taken off again
    _watching = True
    try:
        yield
    finally:
        _watching = False


def check_answers(data: bytes, canary: Path | None = None) -> None:
    """Hold the invariants on an input: a text, or two with a zero byte between them.

    Raises AssertionError where one does not hold, and whatever the package lets escape.
    """
    first, _, second = data[:MAX_BYTES].partition(b"\0")
    predicted, gold = (part.decode("utf-8", "surrogateescape") for part in (first, second))
    begin = time.process_time()
    with watched():
        for source in ("gsm", "math"):
            _check_source(predicted, gold, source)
        find_boxed(predicted)
        clean_number_paper(predicted)
    seconds = time.process_time() - begin
    assert seconds < MAX_S, f"{seconds:.1f} s of CPU time for {data[:200]!r}, {len(data)} bytes"
    _check_symbolic(predicted, gold)
    assert canary is None or not canary.exists(), f"the canary {canary} was made by {data[:200]!r}"


def _check_source(predicted: str, gold: str, source: str) -> None:
    for rules in ("fixed", "paper"):
        for reply in (predicted, f"The answer is: {predicted}"):
            graded = grade(reply, gold, source=source, rules=rules, symbolic=False)
            assert graded.extracted == extract(reply, source, rules=rules)
            assert graded.extracted is None or graded.extracted, "an empty answer is no answer"
            assert graded.verdict in VERDICTS
            assert graded.decided_by in STEPS
        comparison = equal(predicted, gold, source=source, rules=rules, symbolic=False)
        assert comparison == equal(predicted, gold, source=source, rules=rules, symbolic=False)
    same = equal(predicted, predicted, source=source, symbolic=False).verdict
    assert same == "correct" or not predicted.strip(), f"{predicted[:200]!r} is {same} against itself"


def _check_symbolic(predicted: str, gold: str) -> None:
    global _pool  # noqa: PLW0603 - one child for the whole run
    if zlib.crc32(f"{predicted}\0{gold}".encode("utf-8", "surrogatepass")) % SYMBOLIC_SHARE:
        return
    if not gold or equal_cheaply(predicted, gold, "math") is not None:
        return
    _pool = _pool or SymbolicPool(timeout_s=1.0)
    begin = time.monotonic()
    assert equal_symbolically(predicted, gold, _pool).verdict in VERDICTS
    assert time.monotonic() - begin < 120, "the pool did not give the pair up"  # a child's start included


def seed_inputs(canary: Path) -> Iterator[bytes]:
    """Give the golden pairs, the golden replies, and code that would make the canary if it ran."""
    for name in ("fixed.jsonl", "paper.jsonl"):
        for line in (CASES / name).read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            yield _encoded(f"{case['predicted']}\0{case['gold']}")
    for line in (CASES / "extract.jsonl").read_text(encoding="utf-8").splitlines():
        yield _encoded(json.loads(line)["text"])
    for attack in _ATTACKS:
        text = attack.replace("CANARY", str(canary))
        yield _encoded(f"{text}\0{text}1")
        yield _encoded(f"5\0{text}")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def write_seeds(folder: Path, canary: Path) -> int:
    """Write each seed to a file of its own, as libFuzzer reads a corpus; give their number."""
    count = 0
    for count, data in enumerate(seed_inputs(canary), start=1):
        (folder / f"seed-{count:04d}").write_bytes(data)
    return count


def canary_path() -> Path:
    """Give a path in a new folder, where no file is yet."""
    return Path(tempfile.mkdtemp(prefix=f"fuzz-answers-{os.getpid()}-")) / "canary"
