"""`jobs/train_metamath.py` as a user runs it, and as a machine breaks it."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from kills import check_resumed, kill_draw
from train_job import EVERY_STEPS, arguments, finish, save_rows, start, training_workers, wait_for_step

from metamath_ray.step_metrics import StepMetrics, load_metrics

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


def learnt(output: Path) -> list[tuple[int, float, float, str]]:
    steps: list[StepMetrics] = load_metrics(output / "metrics.jsonl")
    return [(step.step, step.loss, step.learning_rate, step.rows_digest) for step in steps]


def weights(output: Path) -> bytes:
    return (output / "model" / "model.safetensors").read_bytes()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_run_survives_kill_9_of_a_worker_and_of_the_driver(
    tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    draw = kill_draw()
    calm, worker_killed, driver_killed = (tmp_path / name for name in ("calm", "worker", "driver"))
    relative = Path(os.path.relpath(tiny_model, tmp_path)), Path(os.path.relpath(rows_file, tmp_path))
    printed = finish(arguments(*relative, Path("calm")), tmp_path)
    assert printed.splitlines()[-1] == str(calm / "summary.json")
    assert "step 30/30" in printed

    job = start(arguments(tiny_model, rows_file, worker_killed), tmp_path)
    last_seen = draw.randint(EVERY_STEPS + 1, 20)
    wait_for_step(worker_killed, last_seen, job)
    workers = training_workers(worker_killed)
    assert len(workers) == 2
    os.kill(draw.choice(workers), signal.SIGKILL)
    out, err = job.communicate(timeout=280)
    assert job.returncode == 0, out[-2000:] + err[-3000:]
    check_resumed(load_metrics(worker_killed / "metrics.jsonl"), every_steps=EVERY_STEPS, seen=last_seen)

    job = start(arguments(tiny_model, rows_file, driver_killed), tmp_path)
    wait_for_step(driver_killed, draw.randint(EVERY_STEPS + 1, 20), job)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    while training_workers(driver_killed):
        time.sleep(0.1)  # for its workers to see that it is gone; until then they train on
    check_another_number_of_workers_is_refused(
        arguments(tiny_model, rows_file, driver_killed), driver_killed, tmp_path
    )
    last_seen = len(load_metrics(driver_killed / "metrics.jsonl"))
    half_written = driver_killed / "checkpoints" / "checkpoint_half-written"
    half_written.mkdir()
    finish(arguments(tiny_model, rows_file, driver_killed), tmp_path)

    check_resumed(load_metrics(driver_killed / "metrics.jsonl"), every_steps=EVERY_STEPS, seen=last_seen)
    assert not half_written.exists()

    for output in (worker_killed, driver_killed):
        assert learnt(output) == learnt(calm)
        assert weights(output) == weights(calm)
        assert json.loads((output / "summary.json").read_text())["attempts"] == 2
    again = finish(arguments(tiny_model, rows_file, calm), tmp_path)
    assert "step " not in again, "a finished run trains no more"


def check_another_number_of_workers_is_refused(command: list[str], output: Path, tmp_path: Path) -> None:
    def contents() -> list[bytes]:
        return [(output / name).read_bytes() for name in ("config.yaml", "metrics.jsonl", "run_id.txt")]

    before, kept = contents(), sorted(path.name for path in (output / "checkpoints").glob("checkpoint_*"))
    done = subprocess.run(
        [*command, "--num-workers", "1"], capture_output=True, text=True, cwd=tmp_path, timeout=200
    )
    assert done.returncode == 2, done.stdout[-2000:] + done.stderr[-3000:]
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "go on with --num-workers 2" in done.stderr
    assert contents() == before
    assert {path.name for path in (output / "checkpoints").glob("checkpoint_*")} <= set(kept)
    assert not (output / "model").exists()


@pytest.mark.timeout(300)
def test_a_user_error_that_only_the_workers_find_is_one_line_and_exit_2(
    tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 99}))
    done = subprocess.run(
        arguments(broken, rows_file, tmp_path / "run"),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=200,
    )
    assert done.returncode == 2, done.stdout[-2000:] + done.stderr[-3000:]
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "lacks weights that its config.json names" in done.stderr
    assert not (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / ".refused").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("--model", "no/such/folder/here"), "no/such/folder/here"),
        (("--global-batch-size", "5"), "multiple of num_workers x micro_batch_size = 2 x 1 = 2, got 5"),
        (("--zero-stage", "7"), "zero_stage"),
    ],
    ids=["no-model", "batch-does-not-divide", "bad-stage"],
)
def test_bad_input_is_one_line_and_exit_2(
    changes: tuple[str, ...], message: str, tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    done = subprocess.run(
        arguments(tiny_model, rows_file, output, *changes),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr
    assert not output.exists()
