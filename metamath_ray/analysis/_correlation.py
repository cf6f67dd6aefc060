"""Pearson's correlation of diversity gain and accuracy gain over data mixes (figure 2 of the paper: 0.972)."""

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from metamath_ray.analysis._statistics import Interval, pearson, pearson_interval

_MIN_MIXES = 3


@dataclass(frozen=True, slots=True)
class Mix:
    """A data mix; `accuracy` as the table has it, a level or a gain: a constant changes no correlation."""

    mix: str
    diversity_gain: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class CorrelationResult:
    """The correlation over `n` mixes; the interval (Fisher's) is None for fewer than four.

    `slope` and `intercept` are of the least-squares line, accuracy over diversity gain.
    """

    n: int
    pearson: float
    interval: Interval | None
    slope: float
    intercept: float
    accuracy_column: str
    mixes: tuple[Mix, ...]


def load_mixes(path: Path) -> tuple[str, tuple[Mix, ...]]:
    """The accuracy column's name and the mixes of a CSV, JSON, JSONL or Parquet table.

    Raises `FileNotFoundError`, and `ValueError` for a missing column, a value that is no number, and fewer than
    three mixes.
    """
    records = list(_read(path.expanduser()))
    if len(records) < _MIN_MIXES:
        raise ValueError(f"{path} holds {len(records)} mixes; a correlation needs at least {_MIN_MIXES}")
    there = list(records[0])
    accuracy = next((name for name in ("accuracy_gain", "accuracy") if name in there), "accuracy")
    for name in ("mix", "diversity_gain", accuracy):
        if name not in there:
            raise ValueError(f"{path} has no column {name!r}, only {', '.join(map(str, there)) or 'none'}")
    mixes = [
        Mix(
            str(record.get("mix")),
            _number(record, "diversity_gain", f"{path}: mix {number}"),
            _number(record, accuracy, f"{path}: mix {number}"),
        )
        for number, record in enumerate(records)
    ]
    columns = {
        "diversity_gain": {one.diversity_gain for one in mixes},
        accuracy: {one.accuracy for one in mixes},
    }
    for name, values in columns.items():
        if len(values) == 1:
            raise ValueError(f"{path}: {name} is the same in every mix; a correlation needs values that vary")
    return accuracy, tuple(mixes)


def analyze_correlation(accuracy_column: str, mixes: tuple[Mix, ...]) -> tuple[CorrelationResult, pa.Table]:
    """The result, and the mixes as a table. Raises `ValueError` where a column does not vary."""
    xs, ys = [mix.diversity_gain for mix in mixes], [mix.accuracy for mix in mixes]
    correlation = pearson(xs, ys)
    mean_x, mean_y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    slope /= math.fsum((x - mean_x) ** 2 for x in xs)
    result = CorrelationResult(
        n=len(mixes),
        pearson=correlation,
        interval=pearson_interval(correlation, len(mixes)),
        slope=slope,
        intercept=mean_y - slope * mean_x,
        accuracy_column=accuracy_column,
        mixes=mixes,
    )
    columns = {"mix": [mix.mix for mix in mixes], "diversity_gain": xs, accuracy_column: ys}
    return result, pa.table(columns)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    try:
        if path.read_bytes()[:4] == b"PAR1":
            yield from pq.read_table(path).to_pylist()
            return
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(f"mixes {str(path)!r} does not exist") from None
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise ValueError(f"mixes {str(path)!r} can't be read: {error}") from None
    try:
        if text.lstrip().startswith("["):
            records = json.loads(text)
        elif text.lstrip().startswith("{"):
            records = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            records = list(csv.DictReader(text.splitlines()))
    except json.JSONDecodeError as error:
        raise ValueError(f"mixes {str(path)!r} is no readable JSON: {error}") from None
    if not all(isinstance(record, dict) for record in records):
        raise ValueError(f"mixes {str(path)!r} must hold a table: one object a mix")
    yield from records


def _number(record: dict[str, Any], name: str, place: str) -> float:
    value = record.get(name)
    try:
        number = float(value)  # type: ignore[arg-type]  # None and lists are what TypeError is for
    except (TypeError, ValueError):
        raise ValueError(f"{place}: {name} must be a number, got {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"{place}: {name} must be finite, got {value!r}")
    return number
