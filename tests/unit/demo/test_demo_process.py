"""A job's lines, last word and end reach the demo; its end comes with the demo's, however that comes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from metamath_ray.demo import StepFailedError, TimeRecord, run_command

HEARTBEAT_S = 0.3


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def run(code: str, tmp_path: Path, *, silence_s: float = 60) -> list[str]:
    said: list[str] = []
    run_command(python(code), log=tmp_path / "logs" / "job.log", say=said.append, silence_s=silence_s)
    return said


def test_lines_of_both_streams_arrive_in_order_and_are_kept(tmp_path: Path) -> None:
    code = "import sys; print('one'); print('two', file=sys.stderr); print(); print('three\\rfour')"
    assert run(code, tmp_path) == ["one", "two", "three", "four"]
    assert (tmp_path / "logs" / "job.log").read_text() == "one\ntwo\nthree\nfour\n"


def test_a_job_stays_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert run("import os; print(os.environ.get('RAY_ADDRESS'))", tmp_path) == ["None"]


def test_a_job_whose_lines_nobody_takes_is_ended(tmp_path: Path) -> None:
    def take_no_line(line: str) -> None:
        raise BrokenPipeError

    mark = tmp_path / "mark"
    with pytest.raises(BrokenPipeError):
        run_command(
            python(WAITS_FOR_AN_INTERRUPT.format(path=str(mark))), log=tmp_path / "log", say=take_no_line
        )
    assert mark.read_text() == "interrupted"


def test_a_silent_job_is_said_to_run(tmp_path: Path) -> None:
    said = run("import threading; threading.Event().wait(1)", tmp_path, silence_s=HEARTBEAT_S)
    assert said
    assert all(line.startswith("… ") for line in said)


@pytest.mark.parametrize(
    ("code", "message", "exit_code"),
    [
        pytest.param("print('x'); raise SystemExit('error: no space')", "no space", 1, id="its-own-line"),
        pytest.param("import sys; print('error: bad'); print('y'); sys.exit(2)", "bad", 2, id="exit-code"),
        pytest.param("import sys; sys.exit(7)", "exit code 7", 7, id="no-reason"),
        pytest.param("import os; os.kill(os.getpid(), 9)", "memory runs out", -9, id="killed"),
        pytest.param("import os; os.kill(os.getpid(), 15)", "signal 15", -15, id="ended"),
    ],
)
def test_a_failure_has_the_jobs_last_word(tmp_path: Path, code: str, message: str, exit_code: int) -> None:
    with pytest.raises(StepFailedError, match=message) as caught:
        run(code, tmp_path)
    assert caught.value.code == exit_code
    assert "\n" not in str(caught.value)


def test_a_grandchild_that_holds_the_output_does_not_hold_the_demo(tmp_path: Path) -> None:
    code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"
    [pid] = [line for line in run(code, tmp_path, silence_s=HEARTBEAT_S) if line.isdigit()]
    psutil.Process(int(pid)).kill()


WAITS_FOR_AN_INTERRUPT = """
import pathlib, threading
try:
    print('ready', flush=True)
    threading.Event().wait()
except KeyboardInterrupt:
    pathlib.Path({path!r}).write_text('interrupted')
    raise SystemExit(130)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_job_is_interrupted_when_the_demo_is_stopped_or_killed(
    tmp_path: Path, how: signal.Signals
) -> None:
    mark = tmp_path / "mark"
    demo = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path; from metamath_ray.demo import run_command\n"
        f"run_command({python(WAITS_FOR_AN_INTERRUPT.format(path=str(mark)))!r}, "
        f"log=Path({str(tmp_path / 'log')!r}), say=lambda line: print(line, flush=True))"
    )
    process = subprocess.Popen(python(demo), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, how)
    process.wait(120)
    process.stdout.close()
    deadline = time.monotonic() + 120
    while not (mark.is_file() and mark.read_text()):
        assert time.monotonic() < deadline, "the job was not interrupted"
        time.sleep(0.02)


def test_times_add_up_over_starts_and_survive_damage(tmp_path: Path) -> None:
    path = tmp_path / "steps.json"
    TimeRecord(path).add("build", 3.0)
    TimeRecord(path).add("build", 4.0)
    assert TimeRecord(path).seconds == {"build": 7.0}
    path.write_text("[")
    assert TimeRecord(path).seconds == {}
