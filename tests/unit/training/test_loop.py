"""The DeepSpeed loop against a bare PyTorch loop and against itself with other workers, and what it refuses."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from metamath_ray.training._options import TrainOptions
from metamath_ray.training._packed import PackedData
from metamath_ray.training._schedule import PADDING, StepPlan, learning_rate

from .loop_runs import NUM_STEPS, losses_of, new_run, options_for, run_workers, start_workers, steps_of


def bare_steps(options: TrainOptions, data: PackedData) -> list[tuple[float, float]]:
    """Loss and gradient norm of the same steps without DeepSpeed, packing, chunks or micro-batches: each document
    goes alone through the model."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.0)
    plan, steps = StepPlan.make(len(data), options), []
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
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), options.max_grad_norm)
        optimizer.param_groups[0]["lr"] = learning_rate(step, plan.num_steps, options)
        optimizer.step()
        optimizer.zero_grad()
        steps.append((float(loss.detach()), float(norm)))
    return steps


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
    losses, norms = zip(*bare_steps(options, PackedData.open(Path(one[0]["output"]) / "data")), strict=True)
    assert len(losses) == NUM_STEPS
    assert losses[-1] < losses[0] - 0.5, "nothing was learnt, so nothing was compared"
    assert max(norms) > options.max_grad_norm, "no step was clipped, so that was not compared"
    check_the_partial_last_step(two.pop())
    for run in two + one:
        name = Path(run["output"]).name
        print(
            f"{name}: losses differ from the bare loop's by {largest_difference(losses_of(run), losses):.1e}"
        )
        assert losses_of(run) == pytest.approx(losses, abs=1e-5), name
        assert [step.grad_norm for step in steps_of(run)] == pytest.approx(norms, rel=1e-4), name


def largest_difference(some: Sequence[float], others: Sequence[float]) -> float:
    return max(abs(one - other) for one, other in zip(some, others, strict=True))


def check_the_partial_last_step(run: dict[str, Any]) -> None:
    """An epoch that is no multiple of the global batch: the last step learns from what is left."""
    options, data = TrainOptions.model_validate(run["options"]), PackedData.open(Path(run["output"]) / "data")
    assert len(data) % options.global_batch_size
    losses = [loss for loss, _ in bare_steps(options, data)]
    assert losses_of(run) == pytest.approx(losses, abs=1e-5)
    assert sum(step.tokens for step in steps_of(run)) == data.manifest.num_tokens


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
    assert "go on with --num-workers 1" in worker.finish()[1]


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
    status, printed = worker.finish()
    assert status != 0
    return printed.strip().splitlines()[-1]
