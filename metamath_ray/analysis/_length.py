"""Accuracy over three equal thirds of question length, from the predictions that evaluations wrote."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from metamath_ray.analysis._statistics import Interval, difference_interval, wilson_interval

_COLUMNS = ("problem_id", "sample_index", "question_chars", "verdict_fixed", "verdict_paper")
_NAMES = ("short", "middle", "long")
RULES = ("fixed", "paper")


@dataclass(frozen=True, slots=True)
class Predictions:
    """The greedy completions of one benchmark in one evaluation, by length of question."""

    evaluation: str
    benchmark: str
    rows: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class ThirdScore:
    """A third of the problems; lengths in characters."""

    name: str
    shortest: int
    longest: int
    n: int
    correct: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class LengthScores:
    """The thirds of one benchmark under one rule set; `fall` is the accuracy of the short less that of the long."""

    evaluation: str
    benchmark: str
    rules: str
    n: int
    thirds: tuple[ThirdScore, ...]
    fall: float
    fall_interval: Interval


@dataclass(frozen=True, slots=True)
class LengthResult:
    """All benchmarks of all evaluations."""

    scores: tuple[LengthScores, ...]


def load_predictions(evaluations: Sequence[Path]) -> tuple[Predictions, ...]:
    """The predictions of evaluations' output folders or single files.

    Raises `FileNotFoundError` and `ValueError`, naming file and column, and for fewer than three problems.
    """
    return tuple(predictions for path in evaluations for predictions in _load(path.expanduser()))


def analyze_length(predictions: Sequence[Predictions]) -> tuple[LengthResult, pa.Table]:
    """The result, and a table with a row for each problem: its length, its third, its two verdicts."""
    scores = [_score(one, rules) for one in predictions for rules in RULES]
    records = [
        {"evaluation": one.evaluation, "benchmark": one.benchmark, "third": _NAMES[third]}
        | {name: row[name] for name in _COLUMNS if name != "sample_index"}
        for one in predictions
        for third, rows in enumerate(_thirds(one.rows))
        for row in rows
    ]
    return LengthResult(tuple(scores)), pa.Table.from_pylist(records)


def _load(path: Path) -> Iterator[Predictions]:
    if path.is_file():
        yield _load_file(path, path.parent.parent.name or path.stem)
        return
    if not path.exists():
        raise FileNotFoundError(f"evaluation {str(path)!r} does not exist")
    files = sorted((path / "predictions").glob("[!.]*.parquet"))
    if not files:
        raise ValueError(f"{path / 'predictions'} holds no *.parquet; a finished evaluation writes it")
    for file in files:
        yield _load_file(file, path.resolve().name)


def _load_file(path: Path, evaluation: str) -> Predictions:
    try:
        file = pq.ParquetFile(path)
        absent = [name for name in _COLUMNS if name not in file.schema_arrow.names]
        if absent:
            raise ValueError(f"{path} has no column {absent[0]!r}; an evaluation's predictions have it")
        rows = file.read(columns=list(_COLUMNS)).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is no readable Parquet file: {' '.join(str(error).split())}") from None
    greedy = [row for row in rows if row["sample_index"] == 0]
    if len(greedy) < len(_NAMES):
        raise ValueError(f"{path} holds {len(greedy)} problems; three thirds need at least 3")
    greedy.sort(key=lambda row: row["question_chars"])  # of one length: in the benchmark's order
    return Predictions(evaluation, path.stem, tuple(greedy))


def _score(predictions: Predictions, rules: str) -> LengthScores:
    thirds = tuple(
        _third(name, rows, rules) for name, rows in zip(_NAMES, _thirds(predictions.rows), strict=True)
    )
    short, long = thirds[0], thirds[-1]
    return LengthScores(
        evaluation=predictions.evaluation,
        benchmark=predictions.benchmark,
        rules=rules,
        n=len(predictions.rows),
        thirds=thirds,
        fall=short.accuracy - long.accuracy,
        fall_interval=difference_interval((short.correct, short.n), (long.correct, long.n)),
    )


def _third(name: str, rows: Sequence[dict[str, Any]], rules: str) -> ThirdScore:
    correct = sum(row[f"verdict_{rules}"] == "correct" for row in rows)
    return ThirdScore(
        name=name,
        shortest=rows[0]["question_chars"],
        longest=rows[-1]["question_chars"],
        n=len(rows),
        correct=correct,
        accuracy=correct / len(rows),
        interval=wilson_interval(correct, len(rows)),
    )


def _thirds(rows: Sequence[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    ends = [len(rows) * third // 3 for third in range(4)]
    for start, end in pairwise(ends):
        yield rows[start:end]
