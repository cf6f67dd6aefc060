"""Predictions: the completions of a benchmark with both verdicts, kept as they arrive, written as one table."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from metamath_ray.answers import AnswerVerdict, DecidedBy, RuleSet
from metamath_ray.evaluation._benchmarks import Kind, kind_of
from metamath_ray.evaluation._journal import FAILED, JOURNAL_SUFFIX, Completion, Journal
from metamath_ray.evaluation._keys import Request
from metamath_ray.problems import Style

Verdict = AnswerVerdict | Literal["truncated", "failed"]
"""`truncated`: cut at the token limit before an answer; `failed`: the engine refused the request."""

PREDICTIONS = "predictions"
"""The folder of an evaluation's output that holds one table and one journal a benchmark."""

_ROWS_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row of `predictions/{benchmark}.parquet`; `sample_index` 0 is the greedy completion."""

    problem_id: str
    benchmark: str
    sample_index: int
    prompt: str
    completion: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    extracted_fixed: str | None
    verdict_fixed: Verdict
    decided_by_fixed: DecidedBy
    extracted_paper: str | None
    verdict_paper: Verdict
    expected: str
    subject: str
    level: str
    kind: Kind
    style: Style
    question: str
    question_chars: int
    seconds: float
    request_key: str

    def verdict(self, rules: RuleSet) -> Verdict:
        """The verdict under those rules."""
        return self.verdict_fixed if rules == "fixed" else self.verdict_paper

    def extracted(self, rules: RuleSet) -> str | None:
        """The extracted answer under those rules."""
        return self.extracted_fixed if rules == "fixed" else self.extracted_paper


class BadPredictionsError(ValueError):
    """A table of predictions is missing or can't be read; names the file and what is wrong."""


class PredictionStore:
    """The completions of one benchmark: those found from an earlier run, and those added now.

    `requests` is all that is wanted, in order. A completion under another key (another prompt, sampling
    or model) stays in the journal and out of everything else; so does an earlier run's refusal, as what was in the
    way may be mended. Use as a context manager. Raises as `Journal` does.
    """

    def __init__(self, output: Path, benchmark: str, *, requests: Sequence[Request]) -> None:
        self._wanted = {request.key: request for request in requests}
        assert len(self._wanted) == len(requests)
        self._journal = Journal(output / PREDICTIONS / f"{benchmark}{JOURNAL_SUFFIX}")
        self._completions: dict[str, Completion] = {}
        for completion in self._journal.found:
            if completion.key in self._wanted and completion.finish_reason != FAILED:
                self._completions.setdefault(completion.key, completion)
        self.num_reused = len(self._completions)

    @property
    def missing(self) -> tuple[Request, ...]:
        """The requests without a completion, in order."""
        return tuple(request for key, request in self._wanted.items() if key not in self._completions)

    def add(self, completions: Iterable[Completion]) -> tuple[Completion, ...]:
        """Keep those that are not there yet, and give them back; of two for one request the first counts."""
        new: dict[str, Completion] = {}
        for completion in completions:
            assert completion.key in self._wanted, f"nobody asked for {completion.problem_id}"
            if completion.key not in self._completions:
                new.setdefault(completion.key, completion)
        self._journal.append(tuple(new.values()))
        self._completions.update(new)
        return tuple(new.values())

    def ungraded(self) -> tuple[Prediction, ...]:
        """One prediction for each request that has a completion, in order, all verdicts `no_answer` as yet."""
        return tuple(
            ungraded_prediction(request, self._completions[key])
            for key, request in self._wanted.items()
            if key in self._completions
        )

    def close(self) -> None:
        """Let another evaluation have the journal; all completions are on disk then."""
        self._journal.close()

    def __enter__(self) -> "PredictionStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def ungraded_prediction(request: Request, completion: Completion) -> Prediction:
    """A completion beside its problem, with `no_answer` for verdicts until it is graded."""
    problem = request.problem
    return Prediction(
        problem_id=problem.id,
        benchmark=request.benchmark,
        sample_index=request.sample_index,
        prompt=_storable(request.prompt),
        completion=_storable(completion.text),
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        extracted_fixed=None,
        verdict_fixed="no_answer",
        decided_by_fixed="none",
        extracted_paper=None,
        verdict_paper="no_answer",
        expected=problem.answer,
        subject=problem.subject,
        level=problem.level,
        kind=kind_of(problem.question),
        style=problem.style,
        question=problem.question,
        question_chars=len(problem.question),
        seconds=completion.seconds,
        request_key=completion.key,
    )


def predictions_path(output: Path, benchmark: str) -> Path:
    """Where an evaluation's table of a benchmark lies."""
    return output / PREDICTIONS / f"{benchmark}.parquet"


def write_predictions(path: Path, predictions: Sequence[Prediction], *, num_expected: int) -> Path:
    """Write the table whole or not at all: exactly one row for each problem and sample."""
    keys = {(prediction.problem_id, prediction.sample_index) for prediction in predictions}
    assert len(keys) == len(predictions) == num_expected, (
        f"{path}: {len(predictions)} rows for {len(keys)} problems and samples, {num_expected} expected"
    )
    columns = {
        name: [getattr(prediction, name) for prediction in predictions] for name in _PREDICTION_SCHEMA.names
    }
    table = pa.Table.from_pydict(columns, schema=_PREDICTION_SCHEMA)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    return partial.replace(path)


def load_predictions(path: Path) -> tuple[Prediction, ...]:
    """The rows of a table in order. Raises `BadPredictionsError` where it can't be read or lacks a column."""
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise BadPredictionsError(f"{path} is missing; a finished evaluation writes it") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise BadPredictionsError(f"{path} can't be read as Parquet: {str(error).splitlines()[0]}") from None
    absent = [name for name in _PREDICTION_SCHEMA.names if name not in table.column_names]
    if absent:
        raise BadPredictionsError(f"{path} has no column {absent[0]!r}; a finished evaluation writes it")
    return tuple(_rows_of(table.select(_PREDICTION_SCHEMA.names)))


def _rows_of(table: pa.Table) -> Iterator[Prediction]:
    """The rows, in batches; the samples of one problem share its texts in memory."""
    known: dict[str, str] = {}
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            shared = {name: known.setdefault(row[name], row[name]) for name in ("prompt", "question")}
            yield Prediction(**(row | shared))


def _storable(text: str) -> str:
    """The text with `?` for lone surrogates, which no UTF-8 can hold."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _arrow_type(name: str) -> Any:
    if name in ("sample_index", "prompt_tokens", "completion_tokens", "question_chars"):
        return pa.int64()
    return pa.float64() if name == "seconds" else pa.string()


_PREDICTION_SCHEMA = pa.schema(
    [
        pa.field(field.name, _arrow_type(field.name), nullable=field.name.startswith("extracted"))
        for field in fields(Prediction)
    ]
)
