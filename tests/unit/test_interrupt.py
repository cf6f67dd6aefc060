"""Ctrl-C and SIGTERM end a process that listens, one that does not, and what these have started."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LISTENS = """
end_on_signals("said once")
try:
    print("ready", flush=True)
    signal.pause()
except KeyboardInterrupt:
    sys.exit(INTERRUPTED)
"""
HANGS = """
end_on_signals("said once", patience_s=float(sys.argv[1]))
line = "ready " + str(subprocess.Popen(["sleep", "600"]).pid)
while True:
    try:
        print(line, flush=True)
        signal.pause()
    except KeyboardInterrupt:
        line = "caught"
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    imports = (
        "import signal, subprocess, sys\nfrom metamath_ray.interrupt import INTERRUPTED, end_on_signals\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", imports + program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_raises_a_keyboard_interrupt_and_says_the_line(number: signal.Signals) -> None:
    process = start(LISTENS)
    assert line_of(process) == "ready"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "said once\n")


@pytest.mark.parametrize(("patience_s", "num_signals"), [("0.1", 1), ("600", 2)], ids=["time-out", "second"])
def test_a_process_that_hangs_is_killed_with_what_it_started(patience_s: str, num_signals: int) -> None:
    process = start(HANGS, patience_s)
    _, child = line_of(process).split()
    assert is_alive(child)
    process.send_signal(signal.SIGINT)
    if num_signals == 2:
        assert line_of(process) == "caught"
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "said once\n")
    deadline = time.monotonic() + 60
    while is_alive(child):  # a kill takes its time
        assert time.monotonic() < deadline
        time.sleep(0.01)
