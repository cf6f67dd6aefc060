"""The rows to train on, from everything that `--data` may name, and the checks that they must pass."""

from collections import Counter
from dataclasses import dataclass

from metamath_ray.dataset_rows import ANSWER_MARK, DatasetRow, check_row_id, find_dataset_rows


@dataclass(frozen=True, slots=True)
class LoadedRows:
    """Rows in the data's order, and how many were dropped for `blank_query`, `blank_response`, `no_answer_tail`
    (nothing after the last `The answer is:`) and `duplicate` (query and response of an earlier row).
    """

    rows: tuple[DatasetRow, ...]
    dropped: dict[str, int]


def load_rows(data: str, *, limit: int | None = None) -> LoadedRows:
    """The rows of `data` that can be trained on, at most `limit` of them; what comes later is not looked at.

    `data` is what `read_dataset_rows` takes. Raises `FileNotFoundError` for a missing path, and `ValueError`, with
    place and column, for a row that is none, a repeated row_id, or data in which no row is left.
    """
    rows, dropped = _check_rows(data, limit)
    if not rows:
        reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.items()) or "there is none"
        raise ValueError(
            f"no row of {data!r} can be trained on ({reasons}); a row needs a query and a response that ends "
            f"in '{ANSWER_MARK} ...'"
        )
    return LoadedRows(tuple(rows), dropped)


def _check_rows(data: str, limit: int | None) -> tuple[list[DatasetRow], dict[str, int]]:
    kept: list[DatasetRow] = []
    dropped: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    places: dict[str, str] = {}
    for place, row in find_dataset_rows(data):
        reason = _complaint(row) or ("duplicate" if (row.query, row.response) in seen else "")
        if reason:
            dropped[reason] += 1
            continue
        check_row_id(row, place, places)
        seen.add((row.query, row.response))
        kept.append(row)
        if len(kept) == limit:
            break
    return kept, dict(sorted(dropped.items()))


def _complaint(row: DatasetRow) -> str:
    if not row.query.strip():
        return "blank_query"
    if not row.response.strip():
        return "blank_response"
    _, mark, answer = row.response.rpartition(ANSWER_MARK)
    return "" if mark and answer.strip() else "no_answer_tail"
