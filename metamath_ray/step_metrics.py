"""The figures of every optimizer step, a line of JSON each in `metrics.jsonl`: training writes them, reports read."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

_MayBeNan = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
_MAY_BE_NAN = ("loss", "grad_norm")
_FINAL_STEPS = 10


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class StepMetrics:
    """One optimizer step, over all workers.

    `step` counts from 1; `epoch` is how far the data is read after it; `loss` the mean over the response tokens of
    the global batch. `tokens` are real ones, `padded_tokens` all positions computed. `seconds` is the step's wall
    time, `mfu` the share of peak FLOP/s reached (0 to 1; None where the peak is unknown), `peak_memory_bytes` the
    largest of any worker, `time` seconds since 1970, `attempt` how many starts of the run came before this one.
    `rows_digest` names the rows learnt from and their order: 16 hex digits of SHA-256 over their ids.
    A loss or norm that is not finite is NaN, in the file null.
    """

    step: int
    epoch: float
    loss: _MayBeNan
    learning_rate: float
    grad_norm: _MayBeNan
    tokens: int
    response_tokens: int
    padded_tokens: int
    seconds: float
    tokens_per_s: float
    response_tokens_per_s: float
    mfu: float | None
    peak_memory_bytes: int
    time: float
    attempt: int
    rows_digest: str

    def to_line(self) -> bytes:
        """The step as its line of the file."""
        values = asdict(self)
        values |= {name: None for name in _MAY_BE_NAN if not math.isfinite(values[name])}
        return json.dumps(values, allow_nan=False).encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTotals:
    """A run's steps together, as `summary.json` has them.

    `seconds` adds up the steps; what a crash repeated is counted once. `final_loss` is the mean of the last 10 steps'
    losses that are finite, `mfu` the mean over the time of the steps that have one; None where there is none.
    """

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


def sum_steps(steps: Sequence[StepMetrics]) -> StepTotals:
    """The totals of a run's steps, from its first on; of no step, zeros."""
    seconds = sum(step.seconds for step in steps)
    response_tokens = sum(step.response_tokens for step in steps)
    losses = [step.loss for step in steps[-_FINAL_STEPS:] if math.isfinite(step.loss)]
    used = [(step.mfu * step.seconds, step.seconds) for step in steps if step.mfu is not None]
    return StepTotals(
        steps=len(steps),
        epochs=steps[-1].epoch if steps else 0.0,
        tokens=sum(step.tokens for step in steps),
        response_tokens=response_tokens,
        final_loss=fmean(losses) if losses else None,
        seconds=seconds,
        response_tokens_per_s=response_tokens / seconds if seconds else 0.0,
        mfu=sum(share for share, _ in used) / sum(time for _, time in used) if used else None,
        peak_memory_bytes=max((step.peak_memory_bytes for step in steps), default=0),
        attempts=steps[-1].attempt + 1 if steps else 0,
    )


_STEP = TypeAdapter(StepMetrics)


def load_metrics(path: Path) -> list[StepMetrics]:
    """The steps of a `metrics.jsonl` in order; none where there is no file. A torn last line is left out.

    Raises `ValueError`, with file and line, for a line that is no step.
    """
    return list(_read(path)) if path.is_file() else []


def _read(path: Path) -> Iterator[StepMetrics]:
    lines = path.read_bytes().split(b"\n")[:-1]  # after the last newline there is nothing, or a torn line
    for number, line in enumerate(lines, start=1):
        yield _parse(line, f"{path} line {number}")


def _parse(line: bytes, where: str) -> StepMetrics:
    try:
        values: Any = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON: {error}") from None
    try:
        return _STEP.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole of it"
        raise ValueError(f"{where}: {place}: {first['msg']}") from None
