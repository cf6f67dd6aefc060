"""`jobs/demo.py` as a user runs it, with stand-ins for the jobs: what they leave is prepared, the rest is real."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from demo_stages import write_stages

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """
import os, pathlib, shutil, signal, sys
here, args = pathlib.Path(__file__).parent.parent, sys.argv[1:]
output = pathlib.Path(args[args.index("--run-dir" if "--run-dir" in args else "--output") + 1])
stage = output.name
with (here / "calls.txt").open("a") as calls:
    print(stage, file=calls)
mischief = here / f"{stage}.mischief"
what = mischief.read_text() if mischief.is_file() else ""
mischief.unlink(missing_ok=True)
if what in ("wait", "linger"):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # Linux sends it once for each thread of a dead parent
print("line of", stage, flush=True)
if what == "fail":
    print("error: no space left", file=sys.stderr)
    sys.exit(1)
if what in ("wait", "linger"):
    signal.sigwait([signal.SIGINT])
    if what == "linger":  # as engines do that are taken down
        with (here / "end").open() as end:  # a pipe: the test's word to end
            end.read()
    sys.exit(130)
[prepared] = (here / "prepared").glob(f"**/{stage}")
shutil.copytree(prepared, output, dirs_exist_ok=True, copy_function=shutil.copy)
print(output / "summary.json")
"""
pytestmark = pytest.mark.slow

STAGES = ["build", "before", "training", "after", "comparison"]


@dataclass(frozen=True)
class Place:
    """A folder with the demo, stand-in jobs, and a model."""

    folder: Path

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "jobs/demo.py", "--model", "model", *args]

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*args), cwd=self.folder, capture_output=True, text=True, timeout=240
        )

    def calls(self) -> list[str]:
        path = self.folder / "calls.txt"
        calls = path.read_text().split() if path.is_file() else []
        path.unlink(missing_ok=True)
        return calls

    def prepare(self, stage: str, what: str) -> None:
        (self.folder / f"{stage}.mischief").write_text(what)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "jobs").mkdir()
    for name in ("demo.py", "_python.py"):
        shutil.copy(ROOT / "jobs" / name, tmp_path / "jobs")
    for name in ("build_metamathqa", "train_metamath", "evaluate_metamath"):
        (tmp_path / "jobs" / f"{name}.py").write_text(STAND_IN)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    write_stages(tmp_path / "prepared")
    return Place(tmp_path)


def test_a_demo_runs_every_step_once_and_ends_with_its_page(place: Place) -> None:
    done = place.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert place.calls() == STAGES
    page = place.folder / "runs" / "demo" / "demo.html"
    assert done.stdout.splitlines()[-1] == str(page)
    assert "before and after" in page.read_text()
    assert [f"[{number}/5] " in done.stdout for number in range(1, 6)] == [True] * 5
    assert " | line of training\n" in done.stdout
    assert {path.name for path in (place.folder / "runs").iterdir()} == {"demo"}


def test_the_same_command_again_runs_nothing(place: Place) -> None:
    first = place.run()
    page = (place.folder / "runs" / "demo" / "demo.html").read_bytes()
    place.calls()
    again = place.run()
    assert again.returncode == 0, again.stderr
    assert place.calls() == []
    assert "all done before" in again.stdout
    assert again.stdout.count("]") == again.stdout.count(": done before") == 5
    assert (place.folder / "runs" / "demo" / "demo.html").read_bytes() == page
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]


def test_a_failed_step_is_one_line_and_the_next_run_goes_on_there(place: Place) -> None:
    place.prepare("training", "fail")
    failed = place.run()
    assert failed.returncode == 1
    assert place.calls() == ["build", "before", "training"]
    [line] = failed.stderr.splitlines()
    assert line.startswith(
        "error: step 3, fine-tune it on the rows, 48 steps: no space left; its output is in "
    )
    log = Path(line.partition("output is in ")[2].partition(",")[0])
    assert "error: no space left" in log.read_text()
    assert place.run().returncode == 0
    assert place.calls() == ["training", "after", "comparison"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_was_stopped_goes_on_where_it_was(place: Place, how: signal.Signals) -> None:
    place.prepare("before", "wait")
    demo = subprocess.Popen(
        place.command(), cwd=place.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert demo.stdout is not None
    while "line of before" not in demo.stdout.readline():
        assert demo.poll() is None
    os.kill(demo.pid, how)
    lines, errors = demo.communicate(timeout=240)
    assert "takes its workers down first" in lines
    assert (demo.returncode, errors) == (130, "error: interrupted; run the same command again to go on\n")
    place.calls()
    assert place.run().returncode == 0
    assert place.calls() == ["before", "training", "after", "comparison"]


def test_a_demo_that_was_killed_waits_for_the_step_that_still_ends(place: Place) -> None:
    place.prepare("before", "linger")
    os.mkfifo(place.folder / "end")
    killed = subprocess.Popen(place.command(), cwd=place.folder, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    while "line of before" not in killed.stdout.readline():
        assert killed.poll() is None
    killed.kill()
    killed.wait(60)
    killed.stdout.close()
    place.calls()
    again = subprocess.Popen(place.command(), cwd=place.folder, stdout=subprocess.PIPE, text=True)
    assert again.stdout is not None
    while "still ends from an earlier start" not in again.stdout.readline():
        assert again.poll() is None
    assert place.calls() == []
    (place.folder / "end").write_text("")
    again.communicate(timeout=240)
    assert again.returncode == 0
    assert place.calls() == ["before", "training", "after", "comparison"]


def test_the_fast_demo_has_a_page_and_folders_of_its_own(place: Place) -> None:
    place.run()
    place.calls()
    fast = place.run("--fast")
    assert fast.returncode == 0, fast.stderr
    assert place.calls() == STAGES[1:]
    assert fast.stdout.splitlines()[-1].endswith("runs/demo/demo_fast.html")


def test_another_size_in_the_same_folder_is_refused_before_anything_runs(place: Place) -> None:
    place.run()
    place.calls()
    done = place.run("--max-steps", "9")
    assert done.returncode == 2
    assert (
        "was made with other options (max_steps; max_steps was 48, is 9); name another --run-dir"
        in done.stderr
    )
    assert done.stderr.count("\n") == 1
    assert place.calls() == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        pytest.param(["--problems", "0"], "problems must be greater than or equal to 1", id="bad-value"),
        pytest.param(["--modle", "x"], "did you mean --model?", id="unknown"),
        pytest.param(["--model", "nowhere"], "'nowhere' has no config.json", id="no-model"),
    ],
)
def test_a_mistake_ends_with_one_clear_line(place: Place, args: list[str], message: str) -> None:
    done = place.run(*args)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (place.folder / "runs").exists()


def test_make_demo_is_the_job(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "--assume-old=install", "demo", "FAST=1"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ".venv/bin/python jobs/demo.py --fast"
