"""The pool's children: killed when they hang, replaced, reaped, and usable from anywhere."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metamath_ray.answers import SymbolicPool, equal
from metamath_ray.answers._symbolic_pool import default_pool

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
NEEDS_SYMBOLIC = (r"\log 8", r"3\log 2")


@pytest.fixture
def pool() -> Iterator[SymbolicPool]:
    with SymbolicPool(timeout_s=1.0) as made:
        yield made


def alive(pid: int) -> bool:
    """A zombie counts as alive: it must have been reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_equal_and_unequal_expressions_are_told_apart(pool: SymbolicPool) -> None:
    assert pool.compare("(x+1)^2", "x^2+2x+1") == "correct"
    assert pool.compare("(x+1)^2", "x^2+2x+2") == "incorrect"
    assert pool.compare("(((((", "2") == "unreadable"


def test_a_pair_that_takes_too_long_is_unknown_and_the_next_one_is_answered(pool: SymbolicPool) -> None:
    begin = os.times()
    assert pool.compare("9^{9^{9^{9}}}", "3") == "unknown"
    assert pool.compare("x+1", "1+x") == "correct"
    pool.close()  # what a child has used is counted when it is reaped
    end = os.times()
    spent_s = end.children_user + end.children_system - begin.children_user - begin.children_system
    assert spent_s < 20  # starts of the children included


def test_time_that_a_child_waits_for_the_machine_is_not_the_pairs(pool: SymbolicPool) -> None:
    pool.compare("x", "x")
    (pid,) = pool.pids()
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(
        1.8, os.kill, (pid, signal.SIGCONT)
    ).start()  # more than the limit of a second and its grace
    assert pool.compare("x+1", "1+x") == "correct"


def test_a_stopped_child_is_killed_at_the_deadline_reaped_and_replaced(
    pool: SymbolicPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pool.compare("1+x", "x+1") == "correct"
    (pid,) = pool.pids()
    os.kill(pid, signal.SIGSTOP)  # it does not even see its own alarm
    with monkeypatch.context() as patch:
        patch.setattr("metamath_ray.answers._symbolic_pool._PATIENCE", 1)
        assert pool.compare("1+x", "x+1") == "unknown"
    assert not alive(pid)
    assert pool.compare("1+x", "x+1") == "correct"
    assert pool.pids() != [pid]


def test_a_child_that_died_idle_costs_no_verdict(pool: SymbolicPool) -> None:
    pool.compare("x", "x")
    (pid,) = pool.pids()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it is dead; the pool has yet to notice
    assert pool.compare("1+x", "x+1") == "correct"
    assert not alive(pid)


def test_memory_is_bounded(pool: SymbolicPool) -> None:
    assert pool.compare("2^{2^{40}}", "3") in {"unknown", "incorrect"}
    (pid, *_) = pool.pids() or [None]
    if pid is not None:
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert str(1024 * 1024 * 1024) in limits.split("Max address space")[1].splitlines()[0]


@pytest.fixture
def greedy_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[SymbolicPool]:
    monkeypatch.setattr("metamath_ray.answers._symbolic_pool._MODULE", "tests.unit.answers.greedy_worker")
    with SymbolicPool(timeout_s=20.0, memory_mb=256) as made:
        yield made


@pytest.mark.slow
def test_a_pair_past_the_memory_limit_is_unknown_and_its_worker_replaced(greedy_pool: SymbolicPool) -> None:
    for _ in range(3):  # the next pair must not be sent to the worker that is about to end
        assert greedy_pool.compare(*NEEDS_SYMBOLIC) == "correct"
        (pid,) = greedy_pool.pids()
        assert greedy_pool.compare("greedy", "3") == "unknown"
        assert not alive(pid)
        assert greedy_pool.compare("x+1", "x+2") == "incorrect"
        assert greedy_pool.pids() != [pid]


def test_memory_asked_for_at_once_is_unknown_and_costs_no_worker(greedy_pool: SymbolicPool) -> None:
    assert greedy_pool.compare(*NEEDS_SYMBOLIC) == "correct"
    (pid,) = greedy_pool.pids()
    assert greedy_pool.compare("at once", "3") == "unknown"
    assert greedy_pool.compare(*NEEDS_SYMBOLIC) == "correct"
    assert greedy_pool.pids() == [pid]


def test_close_leaves_no_process_behind() -> None:
    pool = SymbolicPool(num_workers=2)
    pool.compare("x", "x")
    pids = pool.pids()
    pool.close()
    assert pids
    assert not any(map(alive, pids))
    with pytest.raises(RuntimeError, match="closed"):
        pool.compare("x", "x")


def test_a_child_of_a_large_process_is_kept_for_the_next_pair() -> None:
    program = (
        "from metamath_ray.answers import SymbolicPool\n"
        "held = bytearray(1200 * 2**20)\n"
        "with SymbolicPool(memory_mb=1024) as pool:\n"
        "    pool.compare('x', 'x')\n"
        "    before = pool.pids()\n"
        "    pool.compare('x', 'x')\n"
        "    assert before and pool.pids() == before, (before, pool.pids())\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_children_see_no_key(pool: SymbolicPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-children")
    pool.compare("x", "x")
    (pid,) = pool.pids()
    assert b"sk-not-for-children" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_threads_share_the_default_pool() -> None:
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda: results.append(equal(*NEEDS_SYMBOLIC).verdict)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["correct"] * 4


def test_asyncio_can_call_it_in_a_thread_and_directly() -> None:
    async def both() -> tuple[str, str]:
        threaded = await asyncio.to_thread(equal, *NEEDS_SYMBOLIC)
        return threaded.verdict, equal(*NEEDS_SYMBOLIC).verdict

    assert asyncio.run(both()) == ("correct", "correct")


def _in_child(results: "multiprocessing.Queue[tuple[str, str]]") -> None:
    results.put((equal(*NEEDS_SYMBOLIC).verdict, equal(*NEEDS_SYMBOLIC).decided_by))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_daemonic_process_has_a_pool_of_its_own(method: str) -> None:
    equal(*NEEDS_SYMBOLIC)  # with fork, the child inherits a pool that is not its own
    context = multiprocessing.get_context(method)
    results = context.Queue()
    process = context.Process(target=_in_child, args=(results,), daemon=True)
    process.start()
    assert results.get(timeout=120) == ("correct", "symbolic")
    process.join(30)
    assert equal(*NEEDS_SYMBOLIC).verdict == "correct"
    assert default_pool().pids()


def test_a_program_that_ends_or_is_killed_leaves_no_child() -> None:
    for ending in ("pass", "import os; os.kill(os.getpid(), 9)"):
        code = (
            "from metamath_ray.answers import equal\n"
            "from metamath_ray.answers._symbolic_pool import default_pool\n"
            f"equal({NEEDS_SYMBOLIC[0]!r}, {NEEDS_SYMBOLIC[1]!r})\n"
            f"print(default_pool().pids()[0], flush=True)\n{ending}\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        pid = int(done.stdout.split()[-1])
        until = time.monotonic() + 60
        while alive(pid) and _state(pid) != "Z" and time.monotonic() < until:
            time.sleep(0.05)
        assert not alive(pid) or _state(pid) == "Z"  # an orphan is reaped by whoever is process 1 here


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_a_child_that_cannot_start_is_named(pool: SymbolicPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metamath_ray.answers._symbolic_pool._MODULE", "metamath_ray.answers._no_such_worker")
    with pytest.raises(RuntimeError, match=r"ended with code 1 at its start; is math-verify installed\?"):
        pool.compare("x", "x")
    assert pool.pids() == []


def test_texts_too_long_for_a_pipe_are_not_sent(pool: SymbolicPool) -> None:
    assert pool.compare("1+" * 50_000 + "1", "3") == "unreadable"
    assert pool.pids() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_workers": 0}, "num_workers must be at least 1, got 0"),
        ({"timeout_s": 0}, "timeout_s must be more than 0, got 0"),
        ({"memory_mb": 10}, "memory_mb must be at least 256"),
    ],
    ids=["workers", "timeout", "memory"],
)
def test_bad_options_are_named(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SymbolicPool(**options)
