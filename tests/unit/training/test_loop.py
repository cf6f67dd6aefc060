"""The DeepSpeed loop against a bare PyTorch loop, against itself with other workers, and after a kill."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from kills import check_resumed, kill_draw
from torch.nn import functional

from metamath_ray.training._metrics import StepMetrics, load_metrics
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._packed import PackedData
from metamath_ray.training._prepare import prepare_data
from metamath_ray.training._schedule import PADDING, StepPlan, learning_rate

ROOT = Path(__file__).resolve().parents[3]
NUM_STEPS = 20


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 short rows, with sums to learn."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    draw = random.Random(7)
    with path.open("w") as file:
        for _ in range(240):
            a, b, c = (draw.randint(2, 99) for _ in range(3))
            steps = f"{a} + {b} = {a + b}.\n" + (
                f"{a + b} + {c} = {a + b + c}.\n" if draw.random() < 0.5 else ""
            )
            query = f"What is {a} plus {b}" + (f" plus {c}?" if steps.count("=") > 1 else "?")
            answer = steps.rstrip(".\n").rsplit(" ", 1)[-1]
            file.write(json.dumps({"query": query, "response": f"{steps}The answer is: {answer}"}) + "\n")
    return path


@pytest.fixture(scope="module")
def dropout_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with attention dropout: what it learns depends on the generators."""
    folder = tmp_path_factory.mktemp("dropout") / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.1}))
    return folder


def options_for(model: Path, rows: Path, **changes: Any) -> TrainOptions:
    values: dict[str, Any] = {
        "data": str(rows),
        "model": str(model),
        "max_length": 192,
        "global_batch_size": 8,
        "micro_batch_size": 2,
        "max_steps": NUM_STEPS,
        "learning_rate": 3e-3,
        "warmup_ratio": 0.1,
        "precision": "fp32",
        "zero_stage": 0,
        "device": {"kind": "cpu", "cpus_per_worker": 1},
        "checkpoint": {"every_steps": 5},
    }
    return TrainOptions.model_validate(values | changes)


def start_workers(runs: list[dict[str, Any]], num_workers: int, folder: Path) -> list[subprocess.Popen[str]]:
    runs_file = folder / f"runs-{random.random()}.json"
    runs_file.write_text(json.dumps(runs))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"WORLD_SIZE": str(num_workers), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "training_worker.py"), str(runs_file)],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(num_workers)
    ]


def run_workers(runs: list[dict[str, Any]], num_workers: int, folder: Path) -> None:
    workers = start_workers(runs, num_workers, folder)
    for worker in workers:
        output, _ = worker.communicate(timeout=280)
        assert worker.returncode == 0, output[-3000:]


def new_run(options: TrainOptions, output: Path, **extra: Any) -> dict[str, Any]:
    prepare_data(options, output / "data")
    return {"options": options.model_dump(mode="json"), "output": str(output), **extra}


def steps_of(run: dict[str, Any]) -> list[StepMetrics]:
    return load_metrics(Path(run["output"]) / "metrics.jsonl")


def losses_of(run: dict[str, Any]) -> list[float]:
    return [step.loss for step in steps_of(run)]


def bare_losses(options: TrainOptions, data: PackedData) -> list[float]:
    """The same steps without DeepSpeed, packing, chunks or micro-batches: each document alone through the model."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.0)
    plan, losses = StepPlan.make(len(data), options), []
    for step in range(plan.num_steps):
        loss_sum, num_targets = torch.zeros(()), 0
        for index in plan.packs_of_step(step):
            if index == PADDING:
                continue
            pack, start = data[int(index)], 0
            for length, prompt in zip(pack.lengths.tolist(), pack.prompt_lengths.tolist(), strict=True):
                tokens = torch.tensor(pack.input_ids[start : start + length].tolist())
                logits = model(tokens[None]).logits[0]
                loss_sum = loss_sum + functional.cross_entropy(
                    logits[prompt - 1 : -1], tokens[prompt:], reduction="sum"
                )
                num_targets += length - prompt
                start += length
        loss = loss_sum / num_targets
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.max_grad_norm)
        optimizer.param_groups[0]["lr"] = learning_rate(step, plan.num_steps, options)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.slow
def test_every_zero_stage_and_number_of_workers_learns_as_a_bare_loop(
    tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    def runs(num_workers: int) -> list[dict[str, Any]]:
        return [
            new_run(
                options_for(tiny_model, rows_file, zero_stage=stage, num_workers=num_workers),
                tmp_path / f"stage{stage}-workers{num_workers}",
            )
            for stage in (0, 1, 2, 3)
        ]

    two, one = runs(2), runs(1)
    partial = new_run(
        options_for(
            tiny_model, rows_file, zero_stage=3, num_workers=2, max_steps=None, epochs=1, global_batch_size=16
        ),
        tmp_path / "partial",
    )
    two.append(partial)
    run_workers(two, 2, tmp_path)
    run_workers(one, 1, tmp_path)
    options = options_for(tiny_model, rows_file)
    expected = bare_losses(options, PackedData.open(Path(one[0]["output"]) / "data"))
    assert len(expected) == NUM_STEPS
    assert expected[-1] < expected[0] - 0.5, "nothing was learnt, so nothing was compared"
    check_the_partial_last_step(two.pop())
    for run in two + one:
        assert losses_of(run) == pytest.approx(expected, abs=1e-5), run["output"]
        assert all(step.grad_norm > 0 for step in steps_of(run))


def check_the_partial_last_step(run: dict[str, Any]) -> None:
    """An epoch that is no multiple of the global batch: the last step learns from what is left."""
    options, data = TrainOptions.model_validate(run["options"]), PackedData.open(Path(run["output"]) / "data")
    assert len(data) % options.global_batch_size
    assert losses_of(run) == pytest.approx(bare_losses(options, data), abs=1e-5)
    assert sum(step.tokens for step in steps_of(run)) == data.manifest.num_tokens


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
    workers = start_workers(runs, 2, folder)
    while len(steps_of(runs[0])) < step:
        assert all(worker.poll() is None for worker in workers), workers[0].communicate()[0][-3000:]
        time.sleep(0.01)  # for a step to be done; the test's time limit ends the wait
    for worker in reversed(workers):
        worker.kill()
        worker.communicate()
    return len(steps_of(runs[0]))


def what_was_learnt(run: dict[str, Any]) -> list[tuple[int, float, float, float, str]]:
    return [(s.step, s.loss, s.learning_rate, s.grad_norm, s.rows_digest) for s in steps_of(run)]


@pytest.mark.slow
def test_another_number_of_workers_is_refused_with_the_number_to_use(
    tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    run = new_run(
        options_for(tiny_model, rows_file, max_steps=2, checkpoint={"every_steps": 1}), tmp_path / "run"
    )
    run_workers([run], 1, tmp_path)
    run["options"] |= {"num_workers": 2}
    worker = start_workers([run], 2, tmp_path)[0]
    assert "go on with --num-workers 1" in worker.communicate(timeout=200)[0]


@pytest.mark.slow
def test_a_checkpoint_of_other_options_or_lost_ones_are_refused_and_a_loss_that_is_no_number_ends_the_run(
    tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    made = options_for(tiny_model, rows_file, max_steps=3, checkpoint={"every_steps": 1})
    run = new_run(made, tmp_path / "run")
    run_workers([run], 1, tmp_path)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    other = run | {"options": run["options"] | {"learning_rate": 1e-3}}
    assert "of a run with other options" in refusal_of(other, tmp_path)
    (tmp_path / "run" / "newest").rename(tmp_path / "elsewhere")
    assert "has done 3 steps, but there is no checkpoint of it" in refusal_of(run, tmp_path)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before

    diverged = new_run(options_for(tiny_model, rows_file), tmp_path / "diverged", spoil_step=2)
    assert "step 2 has loss nan" in refusal_of(diverged, tmp_path)
    assert [step.step for step in steps_of(diverged)] == [1, 2]
    assert not (tmp_path / "diverged" / "weights.txt").exists(), "it was exported"


def refusal_of(run: dict[str, Any], folder: Path) -> str:
    (worker,) = start_workers([run], 1, folder)
    output = worker.communicate(timeout=200)[0]
    assert worker.returncode != 0
    return output.strip().splitlines()[-1]


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
    seen = kill_after_step([killed], tmp_path, step=kill_draw().randint(4, 8))
    run_workers([killed], 2, tmp_path)
    assert losses_of(two)[-1] < losses_of(two)[0] - 0.1
    assert losses_of(three) == pytest.approx(losses_of(two), abs=1e-4)
    assert what_was_learnt(killed) == what_was_learnt(three)
    check_resumed(steps_of(killed), every_steps=3, seen=seen)
