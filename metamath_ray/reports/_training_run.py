"""What a training run, finished or not, left in its output folder, read and checked."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as record

from metamath_ray.reports._run import BadReportInputError, load_config, read_text
from metamath_ray.step_metrics import StepMetrics, StepTotals, load_metrics, sum_steps

_WRITER = "a training run"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


R = TypeVar("R")


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


@record(frozen=True, slots=True, kw_only=True)
class TrainingSummary(StepTotals):
    """`summary.json`, or the totals of the steps so far; then without versions and model."""

    output_model: str | None = None
    versions: dict[str, str | None] = Field(default_factory=dict)
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
    if summary is None or not is_finished:
        summary = TrainingSummary(**asdict(sum_steps(steps)))
    return TrainingRun(config, chosen, steps, manifest, summary, is_finished, _checkpoints(output))


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
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole of it"
        raise BadReportInputError(f"{where}: {place}: {first['msg']}") from None
