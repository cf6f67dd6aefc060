"""Training in bf16: DeepSpeed takes another optimizer for each stage of ZeRO."""

from pathlib import Path

import pytest

from .loop_runs import losses_of, new_run, options_for, run_workers, start_workers, steps_of


@pytest.mark.slow
def test_bf16_learns_what_fp32_does_under_every_zero_stage(
    tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    def run(precision: str, stage: int) -> dict[str, object]:
        options = options_for(
            tiny_model, rows_file, precision=precision, zero_stage=stage, max_steps=5, weight_decay=0.1
        )
        return new_run(options, tmp_path / f"{precision}-{stage}")

    exact, rounded = run("fp32", 0), [run("bf16", stage) for stage in (0, 1, 2, 3)]
    run_workers([exact, *rounded], 1, tmp_path)
    norms = [step.grad_norm for step in steps_of(exact)]
    for one in rounded:
        assert losses_of(one) == pytest.approx(losses_of(exact), abs=0.04), one["output"]
        assert [step.grad_norm for step in steps_of(one)] == pytest.approx(norms, rel=0.03), one["output"]


@pytest.mark.slow
def test_bf16_without_zero_resumes_to_the_last_bit(tiny_model: Path, rows_file: Path, tmp_path: Path) -> None:
    options = options_for(tiny_model, rows_file, precision="bf16", max_steps=5, checkpoint={"every_steps": 2})
    whole, broken = (new_run(options, tmp_path / name) for name in ("whole", "broken"))
    (worker,) = start_workers([whole, broken | {"spoil_step": 4}], 1, tmp_path)
    assert "step 4 has loss nan" in worker.finish()[1]
    run_workers([broken], 1, tmp_path)
    assert losses_of(broken) == losses_of(whole)
    assert [step.attempt for step in steps_of(broken)] == [0, 0, 1, 1, 1]
