"""One trial: a mix trained with one seed, evaluated, and everything given back but its record."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metamath_ray.ablation._evaluate import evaluate_model
from metamath_ray.ablation._options import AblationOptions
from metamath_ray.ablation._outcomes import Outcome
from metamath_ray.ablation._records import ROWS_FILE, TrialRecord, read_record, write_record
from metamath_ray.training import TrainOptions, train, train_in_process

_FIGURES = ("rows", "packs", "steps", "epochs", "tokens", "final_loss", "peak_memory_bytes", "dropped")
_METRICS = "metrics.jsonl"
_PATIENCE_S = 120.0
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class TrialTask:
    """What one trial is to do, as it travels to its process.

    `benchmarks` are those that it is still to be evaluated on. `folder` holds its rows. `num_cpus` is its share of
    the cluster's. `keeps_model`: the trained model stays.
    """

    name: str
    mix: str
    seed: int
    rows_sha256: str
    benchmarks: tuple[str, ...]
    folder: str
    num_cpus: int
    keeps_model: bool
    options: dict[str, Any]


def run_trial(task: TrialTask) -> None:
    """Train where no trained model is left, evaluate, write the record, and remove what is not kept.

    A trial that was killed goes on: training from its newest checkpoint, evaluation from its saved completions.
    Raises what training and evaluation raise, and `TimeoutError` where an earlier start of it does not end.
    """
    options, folder = AblationOptions.model_validate(task.options), Path(task.folder)
    model = folder / "train" / "model"
    with _claim(folder):
        record = read_record(folder) or TrialRecord(task.mix, task.seed, task.rows_sha256, {}, {}, {})
        if not model.is_dir():
            figures = _train(options, task, folder)
            seconds = record.seconds | {"training": figures["seconds"]}
            record = replace(record, training={name: figures[name] for name in _FIGURES}, seconds=seconds)
        write_record(folder, _evaluated(record, options, task, model))
        give_back(folder, keeps_model=task.keeps_model)


def _evaluated(record: TrialRecord, options: AblationOptions, task: TrialTask, model: Path) -> TrialRecord:
    started = time.monotonic()
    verdicts = evaluate_model(
        options,
        model=model,
        benchmarks=task.benchmarks,
        output=Path(task.folder) / f"evaluation-{'-'.join(task.benchmarks)}",
        num_cpus=task.num_cpus,
    )
    outcomes = dict(record.outcomes)
    for name, pairs in verdicts.items():
        ids, correct = tuple(problem for problem, _ in pairs), tuple(right for _, right in pairs)
        outcomes[name] = Outcome(task.mix, task.seed, name, ids, correct)
    seconds = record.seconds.get("evaluation", 0.0) + time.monotonic() - started
    return replace(record, outcomes=outcomes, seconds=record.seconds | {"evaluation": seconds})


def give_back(folder: Path, *, keeps_model: bool) -> None:
    """Remove a finished trial's packed data, checkpoints and, unless it is kept, model; its metrics stay."""
    train_folder = folder / "train"
    if (train_folder / _METRICS).is_file():
        shutil.copyfile(train_folder / _METRICS, folder / _METRICS)
    if not keeps_model:
        shutil.rmtree(train_folder, ignore_errors=True)
        return
    for name in ("data", "checkpoints"):
        shutil.rmtree(train_folder / name, ignore_errors=True)


def _train(options: AblationOptions, task: TrialTask, folder: Path) -> dict[str, Any]:
    training = _with_share(
        options.train_options(data=str(folder / ROWS_FILE), output=folder / "train", seed=task.seed),
        task.num_cpus,
    )
    summary = train_in_process(training) if options.is_in_process else train(training)
    figures: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
    return figures


def _with_share(training: TrainOptions, num_cpus: int) -> TrainOptions:
    """On CPU, the trial's share of cores unless the user has said how many; and no second checkpoint to keep."""
    device = training.device
    if device.kind != "gpu" and device.cpus_per_worker is None:
        share = max(num_cpus // training.num_workers, 1)
        device = device.model_copy(update={"cpus_per_worker": share})
    checkpoint = training.checkpoint.model_copy(update={"keep": 1})
    return training.model_copy(update={"device": device, "checkpoint": checkpoint})


@contextmanager
def _claim(folder: Path) -> Iterator[None]:
    """Be the only process that runs this trial: one whose driver was killed lives on for some seconds."""
    claim = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + _PATIENCE_S
    try:
        while True:
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"an earlier start of trial {folder.name} still runs; end it"
                    ) from None
                time.sleep(_POLL_S)
        yield
    finally:
        os.close(claim)
