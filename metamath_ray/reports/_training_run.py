"""What a training run, finished or not, left in its output folder, read and checked."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from metamath_ray.reports._run import BadReportInputError, load_config, read_text
from metamath_ray.step_metrics import StepMetrics, load_metrics

_WRITER = "a training run"
_FINAL_STEPS = 10  # over which the final loss is averaged, as in summary.json


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


R = TypeVar("R", bound=_Record)


class Chosen(_Record):
    """The options of `config.yaml` that the page speaks of; it lists them all besides."""

    model: str = ""
    method: str = "full"
    precision: str = "bf16"
    num_workers: int = 1
    zero_stage: int = 0
    epochs: float | None = None
    max_steps: int | None = None
    global_batch_size: int | None = None


class Manifest(_Record):
    """`data/manifest.json`."""

    key: str = ""
    tokenizer: str = ""
    max_length: int
    packing: bool = True
    num_rows: int
    num_packs: int
    num_tokens: int
    num_response_tokens: int
    num_cut: int = 0
    real_token_share: float
    dropped: dict[str, int] = {}


class TrainingSummary(_Record):
    """`summary.json`, or the same figures of the steps so far; then without versions and model."""

    steps: int
    epochs: float
    tokens: int
    response_tokens: int
    final_loss: float | None
    seconds: float
    response_tokens_per_s: float
    mfu: float | None
    peak_memory_bytes: int
    attempts: int
    output_model: str | None = None
    versions: dict[str, str | None] = {}
    metamath_ray_version: str = ""


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """An output folder's small files. `is_finished`: a summary covers the last step. There is at least one step."""

    config: dict[str, Any]
    chosen: Chosen
    steps: tuple[StepMetrics, ...]
    manifest: Manifest
    summary: TrainingSummary
    is_finished: bool
    checkpoints: tuple[str, ...]

    @property
    def resumed_at(self) -> tuple[int, ...]:
        """The first step of every start of the run but the first."""
        return tuple(
            one.step
            for before, one in zip(self.steps, self.steps[1:], strict=False)
            if one.attempt > before.attempt
        )

    @property
    def planned_steps(self) -> int | None:
        """Steps of the whole run; by the number of epochs it is a close guess, None where there is no ground."""
        if self.is_finished:
            return self.summary.steps
        chosen = self.chosen
        if chosen.max_steps:
            return chosen.max_steps
        if not chosen.global_batch_size or not chosen.epochs:
            return None
        guess = math.ceil(chosen.epochs * self.manifest.num_packs / chosen.global_batch_size)
        return max(guess, self.steps[-1].step)


def load_training_run(output: Path) -> TrainingRun:
    """The run in `output`. Raises `BadReportInputError` where a file is missing or can't be read."""
    if not output.is_dir():
        raise BadReportInputError(f"{output} is no folder; name the output folder of a training run")
    config = load_config(output / "config.yaml", writer=_WRITER)
    chosen = _check(config, str(output / "config.yaml"), Chosen)
    steps = _load_steps(output / "metrics.jsonl")
    manifest = _load_record(output / "data" / "manifest.json", Manifest)
    path = output / "summary.json"
    summary = _load_record(path, TrainingSummary) if path.is_file() else None
    is_finished = summary is not None and summary.steps >= steps[-1].step
    if summary is None or not is_finished:  # or a finished run goes on with more epochs
        summary = summarize(steps)
    return TrainingRun(config, chosen, steps, manifest, summary, is_finished, _checkpoints(output))


def summarize(steps: Sequence[StepMetrics]) -> TrainingSummary:
    """The figures of the steps so far, in the summary's terms; `seconds` is the time of the steps alone."""
    seconds = sum(one.seconds for one in steps)
    response_tokens = sum(one.response_tokens for one in steps)
    losses = [one.loss for one in steps[-_FINAL_STEPS:] if math.isfinite(one.loss)]
    shares = [(one.mfu, one.seconds) for one in steps if one.mfu is not None]
    share_seconds = sum(weight for _, weight in shares)
    return TrainingSummary(
        steps=steps[-1].step,
        epochs=steps[-1].epoch,
        tokens=sum(one.tokens for one in steps),
        response_tokens=response_tokens,
        final_loss=sum(losses) / len(losses) if losses else None,
        seconds=seconds,
        response_tokens_per_s=response_tokens / seconds if seconds else 0.0,
        mfu=sum(share * weight for share, weight in shares) / share_seconds if share_seconds else None,
        peak_memory_bytes=max(one.peak_memory_bytes for one in steps),
        attempts=steps[-1].attempt + 1,
    )


def _checkpoints(output: Path) -> tuple[str, ...]:
    """Names of the checkpoints kept in the output folder, oldest first."""
    folder = output / "checkpoints"
    return tuple(
        sorted(path.name for path in folder.glob("**/checkpoint_*") if path.is_dir())
        if folder.is_dir()
        else ()
    )


def _load_steps(path: Path) -> tuple[StepMetrics, ...]:
    read_text(path, writer=_WRITER)  # says what is wrong where it can't be read
    try:
        steps = load_metrics(path)
    except ValueError as error:
        raise BadReportInputError(str(error)) from None
    if not steps:
        raise BadReportInputError(f"{path} holds no step yet")
    return tuple(steps)


def _load_record(path: Path, kind: type[R]) -> R:
    return _parse(read_text(path, writer=_WRITER), str(path), kind)


def _parse(text: str, where: str, kind: type[R]) -> R:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadReportInputError(f"{where} is no JSON: {error}") from None
    return _check(values, where, kind)


def _check(values: Any, where: str, kind: type[R]) -> R:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole of it"
        raise BadReportInputError(f"{where}: {place}: {first['msg']}") from None
