"""The training loop after a kill: it goes on to the last bit, from the newest checkpoint."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from kills import check_resumed, kill_draw

from .loop_runs import losses_of, new_run, options_for, run_workers, start_workers, steps_of


@pytest.fixture(scope="module")
def dropout_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with attention dropout: what it learns depends on the generators."""
    folder = tmp_path_factory.mktemp("dropout") / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.1}))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_killed_run_resumes_to_the_last_bit(
    precision: str, dropout_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    options = options_for(
        dropout_model,
        rows_file,
        precision=precision,
        zero_stage=2,
        num_workers=2,
        max_steps=12,
        checkpoint={"every_steps": 3},
    )
    undisturbed = new_run(options, tmp_path / "undisturbed")
    run_workers([undisturbed], 2, tmp_path)
    killed = new_run(options, tmp_path / "killed")
    forgetful = new_run(options, tmp_path / "forgetful")
    seen = kill_after_step([killed], tmp_path, step=kill_draw().randint(4, 10))
    shutil.copytree(killed["output"], forgetful["output"], dirs_exist_ok=True)
    run_workers([killed, forgetful | {"forget_random_state": True}], 2, tmp_path)

    assert what_was_learnt(killed) == what_was_learnt(undisturbed)
    check_resumed(steps_of(killed), every_steps=3, seen=seen)
    weights = [(Path(run["output"]) / "weights.txt").read_text() for run in (undisturbed, killed)]
    assert weights[0] == weights[1]
    assert losses_of(forgetful) != losses_of(undisturbed), "the control should have learnt something else"


def kill_after_step(runs: list[dict[str, Any]], folder: Path, *, step: int) -> int:
    """`kill -9` for one of two workers as soon as it has done `step` steps; the other one dies of it or is killed.

    Gives how many steps were done.
    """
    print(f"kill after step {step}")
    workers = start_workers([run | {"is_killed": True} for run in runs], 2, folder)
    while len(steps_of(runs[0])) < step:
        assert all(worker.is_alive() for worker in workers), workers[0].finish()[1][-3000:]
        time.sleep(0.01)  # for a step to be done; the test's time limit ends the wait
    for worker in reversed(workers):
        worker.kill()
    return len(steps_of(runs[0]))


def what_was_learnt(run: dict[str, Any]) -> list[tuple[int, float, float, float, str]]:
    return [(s.step, s.loss, s.learning_rate, s.grad_norm, s.rows_digest) for s in steps_of(run)]


@pytest.mark.slow
def test_qlora_learns_the_same_under_zero_2_and_3_and_resumes_to_the_last_bit(
    tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    def run(name: str, stage: int) -> dict[str, Any]:
        options = options_for(
            tiny_model,
            rows_file,
            method="qlora",
            lora={"rank": 8, "alpha": 16, "dropout": 0.1},
            zero_stage=stage,
            num_workers=2,
            max_steps=9,
            learning_rate=1e-2,
            checkpoint={"every_steps": 3},
        )
        return new_run(options, tmp_path / name)

    two, three, killed = run("two", 2), run("three", 3), run("killed", 3)
    run_workers([two, three], 2, tmp_path)
    seen = kill_after_step([killed], tmp_path, step=kill_draw().randint(4, 7))
    run_workers([killed], 2, tmp_path)
    assert losses_of(two)[-1] < losses_of(two)[0] - 0.1
    assert losses_of(three) == pytest.approx(losses_of(two), abs=1e-4)
    assert what_was_learnt(killed) == what_was_learnt(three)
    check_resumed(steps_of(killed), every_steps=3, seen=seen)


@pytest.mark.slow
def test_a_checkpoint_is_due_after_so_many_minutes_too(
    tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    """The last step, of which a checkpoint is kept anyway, is spoilt, and with it ends the run."""

    def run(name: str, checkpoint: dict[str, Any]) -> dict[str, Any]:
        options = options_for(tiny_model, rows_file, num_workers=2, max_steps=3, checkpoint=checkpoint)
        return new_run(options, tmp_path / name, spoil_step=3)

    timed = run("timed", {"every_steps": 1000, "every_minutes": 1e-9})
    steps_only = run("steps", {"every_steps": 1000})
    for one in (timed, steps_only):
        for worker in start_workers([one], 2, tmp_path):
            assert "step 3 has loss nan" in worker.finish()[1]
    cursor = json.loads((tmp_path / "timed" / "newest" / "cursor.json").read_text())
    assert cursor["step"] == 2
    assert not (tmp_path / "steps" / "newest").exists()
