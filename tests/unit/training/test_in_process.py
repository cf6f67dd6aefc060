"""Training in the calling process: what it leaves, and that it is left alone when it is done."""

from collections.abc import Callable
from pathlib import Path

from metamath_ray.step_metrics import load_metrics
from metamath_ray.training import TrainOptions, count_row_tokens, train_in_process
from metamath_ray.training._packed import read_manifest


def test_a_run_in_process_trains_exports_and_is_left_as_it_is_when_called_again(
    make: Callable[..., TrainOptions], rows_file: Path, tmp_path: Path
) -> None:
    options = make(
        data=str(rows_file), max_length=256, max_steps=3, micro_batch_size=2, precision="fp32", num_workers=2
    )
    summary = train_in_process(options)
    metrics = load_metrics(tmp_path / "out" / "metrics.jsonl")
    assert [step.step for step in metrics] == [1, 2, 3]
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()
    before = summary.read_text()
    train_in_process(options)
    assert summary.read_text() == before
    assert load_metrics(tmp_path / "out" / "metrics.jsonl") == metrics


def test_tokens_of_rows_are_those_that_training_packs(
    make: Callable[..., TrainOptions], tmp_path: Path
) -> None:
    options = make(max_length=256, max_steps=1, precision="fp32")
    train_in_process(options)
    counts = count_row_tokens([("1 + 1?", "It is 2.\nThe answer is: 2")], model=options.model)
    assert counts == [read_manifest(tmp_path / "out" / "data").num_tokens]
