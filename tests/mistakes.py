"""What the tests of mistakes share: a job run as a user runs it, and what its answer must look like."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
SECRET = "sk-canary-71c0ffee"
MARK = "METAMATH_RAY_TEST_RUN"

BUILD, TRAIN, EVALUATE, SERVE = (
    "build_metamathqa.py",
    "train_metamath.py",
    "evaluate_metamath.py",
    "serve_model.py",
)


def run(
    job: str, args: list[str], *, cwd: Path, python: str = sys.executable, timeout_s: float = 240, **env: str
) -> subprocess.CompletedProcess[str]:
    """The job in a folder; afterwards no process of it may be left."""
    mark = uuid.uuid4().hex
    ours = ("RAY_", "HF_", "OPENAI_")  # a test must not hang on what its user has set
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [python, str(ROOT / "jobs" / job), *args],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=clean | {MARK: mark} | env,
        cwd=cwd,
    )
    wait_for_the_last(mark)
    return done


def wait_for_the_last(mark: str) -> None:
    """Return when no process is left that was started with this `MARK`: Ray's own end after the job's."""
    left = [process for process in psutil.process_iter() if _holds(process, mark)]
    _, left = psutil.wait_procs(left, timeout=120)
    assert not left, left


def check(
    done: subprocess.CompletedProcess[str], *, code: int, says: tuple[str, ...], num_lines: int = 1
) -> None:
    """One line (or one a fault) on stderr that begins with `error: ` and holds every part of `says`; no colours, no key."""
    assert done.returncode == code, done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == num_lines, done.stderr
    assert all(line.startswith("error: ") for line in lines), done.stderr
    for part in says:
        assert part in done.stderr, f"{part!r} is not in {done.stderr!r}"
    assert "\x1b" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr


def _holds(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
