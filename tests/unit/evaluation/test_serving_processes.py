"""What becomes of an engine's processes, and what its output says: no engine needed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from metamath_ray.evaluation._engine_log import find_root_cause
from metamath_ray.evaluation._reaper import MARKER, find_marked
from metamath_ray.evaluation._stall import StallWatch

STARTER = """
import subprocess, sys, time, os
from metamath_ray.evaluation._replica import start_reaper
start_reaper()
engine = subprocess.Popen([sys.executable, "-c", {child!r}])
print(os.environ["METAMATH_RAY_ENGINE"], engine.pid, flush=True)
time.sleep(600)
"""
CHILD = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"

PATIENCE_S = 120.0


def start(child: str) -> tuple[subprocess.Popen[str], str, int]:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER.format(child=child)], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    value, pid = starter.stdout.readline().split()
    return starter, value, int(pid)


def wait_until_none(value: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while find_marked(value):
        assert time.monotonic() < deadline, f"still there: {find_marked(value)}"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("child", "num"),
    [
        pytest.param(CHILD, 2, id="child-and-grandchild"),
        pytest.param(STUBBORN, 1, id="stubborn", marks=pytest.mark.slow),
    ],
)
def test_a_killed_starter_leaves_no_process_behind(child: str, num: int) -> None:
    starter, value, _ = start(child)
    deadline = time.monotonic() + PATIENCE_S
    while len(find_marked(value)) < num and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(find_marked(value)) == num
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    wait_until_none(value)


@pytest.mark.slow
def test_the_engine_lives_while_its_starter_does() -> None:
    starter, value, pid = start(STUBBORN)
    time.sleep(1)
    assert find_marked(value) == [pid]
    assert MARKER not in os.environ
    starter.kill()
    starter.wait()
    wait_until_none(value)


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        pytest.param(
            [
                "(EngineCore pid=7) ERROR 11-22 08:00:00 [core.py:99] Traceback (most recent call last):",
                "(EngineCore pid=7) ERROR 11-22 08:00:00 [core.py:99]   raise ValueError(text)",
                "(EngineCore pid=7) ERROR 11-22 08:00:00 [core.py:99] ValueError: No available memory for the cache blocks.",
                "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
            ],
            "ValueError: No available memory for the cache blocks.",
            id="prefixed",
        ),
        pytest.param(
            ["torch.OutOfMemoryError: CUDA out of memory.", "Exception: WorkerProc failed. See stack trace for root cause."],
            "torch.OutOfMemoryError: CUDA out of memory.",
            id="pointer-behind-it",
        ),
        pytest.param(["INFO 11-22 08:00:00 [a.py:1] no Error: here", "all well"], None, id="none"),
    ],
)  # fmt: skip
def test_the_cause_is_the_last_error_that_points_to_no_other(lines: list[str], cause: str | None) -> None:
    assert find_root_cause(lines) == cause


def test_an_engine_has_stalled_where_requests_wait_and_no_token_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("metamath_ray.evaluation._stall.time.monotonic", lambda: now[0])
    watch = StallWatch(600)
    now[0] += 5000
    assert not watch.has_stalled(0), "idle"
    now[0] += 599
    assert not watch.has_stalled(3), "it may still come"
    watch.step()
    now[0] += 599
    assert not watch.has_stalled(3), "slow, but moving"
    now[0] += 2
    assert watch.has_stalled(3)
