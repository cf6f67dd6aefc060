"""The rows to train on, from everything that `--data` may name, and the checks that they must pass."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from metamath_ray.dataset_rows import ANSWER_MARK, read_json_lines, read_json_list, write_published_response
from metamath_ray.problems import load_problems, parse_spec

_PROBLEM_SETS = ("bundled", "gsm8k", "math")
_SPEC = re.compile(r"[a-z0-9_-]+:.+")
_FIELDS = ("row_id", "query", "response")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the training set; `row_id` is unique in a run, `row-N` (N from 0) where the data has none."""

    row_id: str
    query: str
    response: str


@dataclass(frozen=True, slots=True)
class LoadedRows:
    """Rows in the data's order, and how many were dropped for `blank_query`, `blank_response`, `no_answer_tail`
    (nothing after the last `The answer is:`) and `duplicate` (query and response of an earlier row).
    """

    rows: tuple[Row, ...]
    dropped: dict[str, int]


def load_rows(data: str, *, limit: int | None = None) -> LoadedRows:
    """The rows of `data` that can be trained on, at most `limit` of them; what comes later is not looked at.

    `data` is a build's run directory, a file with the fields query and response (the released JSON, JSONL or
    Parquet; told apart by content), or problems as a build's seeds are named (`gsm8k:PATH`), whose published
    solutions become responses. Raises `FileNotFoundError` for a missing path, and `ValueError`, with file, line
    and field, for a row that is none, a repeated row_id, or data in which no row is left.
    """
    rows, dropped = _check_rows(_read(data), limit)
    if not rows:
        reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.items()) or "there is none"
        raise ValueError(
            f"no row of {data!r} can be trained on ({reasons}); a row needs a query and a response that ends "
            f"in '{ANSWER_MARK} ...'"
        )
    return LoadedRows(tuple(rows), dropped)


def _check_rows(places: Iterable[tuple[str, Row]], limit: int | None) -> tuple[list[Row], dict[str, int]]:
    kept: list[Row] = []
    dropped: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    place_of_id: dict[str, str] = {}
    for place, row in places:
        reason = _complaint(row) or ("duplicate" if (row.query, row.response) in seen else "")
        if reason:
            dropped[reason] += 1
            continue
        first = place_of_id.setdefault(row.row_id, place)
        if first != place:
            raise ValueError(f"{place}: field 'row_id': {row.row_id!r} is {first}'s too; ids must be unique")
        seen.add((row.query, row.response))
        kept.append(row)
        if len(kept) == limit:
            break
    return kept, dict(sorted(dropped.items()))


def _complaint(row: Row) -> str:
    if not row.query.strip():
        return "blank_query"
    if not row.response.strip():
        return "blank_response"
    _, mark, answer = row.response.rpartition(ANSWER_MARK)
    return "" if mark and answer.strip() else "no_answer_tail"


def _read(data: str) -> Iterator[tuple[str, Row]]:
    path = Path(data).expanduser()
    if data in _PROBLEM_SETS or (_SPEC.fullmatch(data) and not path.exists()):
        yield from _read_problems(data)
        return
    for number, (place, fields) in enumerate(_read_files(path)):
        yield place, _row_of(fields, place, number)


def _read_problems(spec: str) -> Iterator[tuple[str, Row]]:
    for problem in load_problems(parse_spec(spec)).problems:
        yield f"{spec}: {problem.id}", Row(problem.id, problem.question, write_published_response(problem))


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
        raise FileNotFoundError(f"training data {str(path)!r} does not exist") from None
    if head.startswith(b"PAR1"):
        yield from _read_parquet(path)
    elif head.startswith(b"["):
        yield from read_json_list(path)
    else:
        yield from read_json_lines(path)


def _read_parquet(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        file = pq.ParquetFile(path)
        columns = [name for name in _FIELDS if name in file.schema_arrow.names]
        number = 0
        for batch in file.iter_batches(batch_size=4096, columns=columns):
            for fields in batch.to_pylist():
                yield f"{path}: row {number}", fields
                number += 1
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is no readable Parquet file: {' '.join(str(error).split())}") from None


def _row_of(fields: Any, place: str, number: int) -> Row:
    if not isinstance(fields, dict):
        raise ValueError(
            f"{place}: not an object but {_show(fields)}; a row is an object of query and response"
        )
    row_id = fields.get("row_id")
    return Row(
        f"row-{number}" if row_id is None else str(row_id),
        _text(fields, "query", place),
        _text(fields, "response", place),
    )


def _text(fields: Mapping[str, Any], name: str, place: str) -> str:
    if name not in fields:
        hint = "; for a published file write --data gsm8k:PATH or math:PATH" if "answer" in fields else ""
        raise ValueError(f"{place}: field {name!r}: missing; a row needs query and response{hint}")
    value = fields[name]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{place}: field {name!r}: must be a string, got {_show(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{place}: field {name!r}: half a surrogate pair at character {error.start}"
        ) from None
    return value


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
