"""The figures of every optimizer step, one line of JSON each in `metrics.jsonl`."""

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Any

_LOG = logging.getLogger(__name__)

_MAY_BE_NAN = ("loss", "grad_norm")


@dataclass(frozen=True, slots=True, kw_only=True)
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
    loss: float
    learning_rate: float
    grad_norm: float
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


class MetricsLog:
    """The file being written; for rank 0 alone, one at a time. A context manager.

    A line is with the system when `append` returns, so that a killed process loses none. What a kill tore off the
    last line is dropped on opening; any other damage is a `ValueError` that names file and line. `last_attempt` is
    the attempt of the last line found on opening, -1 where there was none: the next one's number is one more.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(path)
        metrics = load_metrics(path)
        self._last_step = metrics[-1].step if metrics else 0
        self.last_attempt = metrics[-1].attempt if metrics else -1
        self._file: BufferedWriter = path.open("ab")

    def append(self, metrics: StepMetrics) -> None:
        """Add one step; steps only rise."""
        assert metrics.step > self._last_step, f"step {metrics.step} after step {self._last_step}"
        self._file.write(_line(metrics))
        self._file.flush()
        self._last_step = metrics.step

    def cut_after(self, step: int) -> int:
        """Drop the steps after `step`, the checkpoint's, and return how many; the file is whole at any moment."""
        metrics = load_metrics(self._path)
        kept = [one for one in metrics if one.step <= step]
        self._file.close()
        if len(kept) < len(metrics):
            partial = self._path.with_name(f".{self._path.name}.partial")
            partial.write_bytes(b"".join(map(_line, kept)))
            partial.replace(self._path)
        self._file = self._path.open("ab")
        self._last_step = kept[-1].step if kept else 0
        return len(metrics) - len(kept)

    def close(self) -> None:
        """Nothing more is appended. Closing twice is fine."""
        self._file.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
    names = {field.name for field in fields(StepMetrics)}
    if not isinstance(values, dict) or values.keys() != names:
        raise ValueError(f"{where} must hold exactly {', '.join(sorted(names))}")
    return StepMetrics(**values | {name: math.nan for name in _MAY_BE_NAN if values[name] is None})


def _line(metrics: StepMetrics) -> bytes:
    values = asdict(metrics)
    values |= {name: None for name in _MAY_BE_NAN if not math.isfinite(values[name])}
    return json.dumps(values, allow_nan=False).encode() + b"\n"


def _drop_torn_line(path: Path) -> None:
    if not path.is_file():
        return
    with path.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            _LOG.warning("%s: dropped a last line that was not written whole", path)
            file.truncate(whole)
