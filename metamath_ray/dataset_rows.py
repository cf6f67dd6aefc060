"""Rows of a training set with their types, from everything that holds some: for all who study or mix them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from metamath_ray.problems import Problem, load_problems, parse_spec

ANSWER_MARK = "The answer is:"
UNTYPED = "untyped"

_FIELDS = ("query", "response")
_OPTIONAL = ("row_id", "type", "seed_id", "original_question")
_PROBLEM_SETS = ("bundled", "gsm8k", "math")
_SPEC = re.compile(r"[a-z0-9_-]+:.+")
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
_GSM8K_MARK = "####"


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One row; `row_id` is `row-N` (N from 0) where the data has none, `type` is `untyped`.

    Published problems have their source's name for a type. `seed_id` and `original_question`, the seed problem's, are
    empty where the data does not say.
    """

    row_id: str
    type: str
    query: str
    response: str
    seed_id: str = ""
    original_question: str = ""


def read_dataset_rows(data: str) -> tuple[DatasetRow, ...]:
    """Every row of `data`, in its order, blank and repeated ones too.

    `data` is a build's run directory, a file with the columns query and response (the released JSON, JSONL or
    Parquet; told apart by content), or problems as a build's seeds are named (`gsm8k:PATH`), whose published
    solutions become responses. Raises `FileNotFoundError` for a missing path, and `ValueError`, with file, line or
    row and column, for data without rows or columns, a row that is none, and a repeated row_id.
    """
    rows: list[DatasetRow] = []
    places: dict[str, str] = {}
    for place, row in find_dataset_rows(data):
        check_row_id(row, place, places)
        rows.append(row)
    if not rows:
        raise ValueError(f"{data!r} holds no rows")
    return tuple(rows)


def find_dataset_rows(data: str) -> Iterator[tuple[str, DatasetRow]]:
    """Rows as `read_dataset_rows` takes them, one after another, each behind the place where it stands.

    A row_id may come twice, and there may be no row.
    """
    path = Path(data).expanduser()
    if data in _PROBLEM_SETS or (_SPEC.fullmatch(data) and not path.exists()):
        for problem in load_problems(parse_spec(data)).problems:
            response = write_published_response(problem)
            yield f"{data}: {problem.id}", DatasetRow(problem.id, problem.source, problem.question, response)
        return
    for number, (place, fields) in enumerate(_read_files(path)):
        yield place, _row_of(fields, place, number)


def check_row_id(row: DatasetRow, place: str, places: dict[str, str]) -> None:
    """Note in `places` where the id stands; raises `ValueError` where another row has it."""
    first = places.setdefault(row.row_id, place)
    if first != place:
        raise ValueError(f"{place}: row_id {row.row_id!r} is {first}'s too; ids must be unique")


def write_published_response(problem: Problem) -> str:
    """A published solution as a response: no calculator notes, and the released file's tail; "" without solution."""
    if not problem.solution.strip():
        return ""
    if problem.style == "math":
        return f"{problem.solution.strip()}\n{ANSWER_MARK} {problem.answer}"
    reasoning, mark, tail = problem.solution.rpartition(_GSM8K_MARK)
    reasoning = _CALCULATOR.sub("", reasoning if mark else tail).strip()
    return f"{reasoning}\n{_GSM8K_MARK} {problem.answer}\n{ANSWER_MARK} {problem.answer}"


def _read_files(path: Path) -> Iterator[tuple[str, Any]]:
    if path.is_dir():
        parts = sorted((path / "dataset").glob("*.parquet"))
        if not parts:
            raise ValueError(f"{str(path)!r} is no run directory of a build: it holds no dataset/*.parquet")
        for part in parts:
            yield from _read_parquet(part)
        return
    try:
        with path.open("rb") as file:
            head = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    except FileNotFoundError:
        raise FileNotFoundError(f"data {str(path)!r} does not exist") from None
    except OSError as error:
        raise ValueError(f"data {str(path)!r} can't be read: {error.strerror}") from None
    if head.startswith(b"PAR1"):
        yield from _read_parquet(path)
    elif head.startswith(b"["):
        yield from _read_json_list(path)
    else:
        yield from _read_json_lines(path)


def _read_parquet(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        absent = [name for name in _FIELDS if name not in names]
        if absent:
            raise ValueError(f"{path} has no column {absent[0]!r}, only {', '.join(names)}")
        number = 0
        for batch in file.iter_batches(4096, columns=[n for n in (*_FIELDS, *_OPTIONAL) if n in names]):
            for fields in batch.to_pylist():
                yield f"{path}: row {number}", fields
                number += 1
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is no readable Parquet file: {' '.join(str(error).split())}") from None


def _read_json_list(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # also UnicodeDecodeError
        raise ValueError(f"{path} is no readable JSON: {error}") from None
    for number, fields in enumerate(rows):
        yield f"{path}: row {number}", fields


def _read_json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                yield f"{path}:{line}", json.loads(text.decode("utf-8-sig"))
            except ValueError as error:  # also UnicodeDecodeError
                raise ValueError(f"{path}:{line}: not JSON: {error}") from None


def _row_of(fields: Any, place: str, number: int) -> DatasetRow:
    if not isinstance(fields, dict):
        raise ValueError(
            f"{place}: not an object but {_show(fields)}; a row is an object of query and response"
        )
    row_id, kind = fields.get("row_id"), fields.get("type")
    return DatasetRow(
        row_id=f"row-{number}" if row_id is None else str(row_id),
        type=UNTYPED if kind is None else str(kind),
        query=_text(fields, "query", place),
        response=_text(fields, "response", place),
        seed_id=str(fields.get("seed_id") or ""),
        original_question=str(fields.get("original_question") or ""),
    )


def _text(fields: dict[str, Any], name: str, place: str) -> str:
    if name not in fields:
        hint = "; for a published file write gsm8k:PATH or math:PATH" if "answer" in fields else ""
        there = ", ".join(list(fields)[:8]) or "none"
        raise ValueError(f"{place}: no column {name!r}, only {there}{hint}")
    value = fields[name]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{place}: column {name!r} must hold text, got {_show(value)}")
    return value.encode("utf-8", "replace").decode()  # half a surrogate pair fits no table


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
