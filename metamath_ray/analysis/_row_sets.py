"""The rows that an analysis is about: read, taken by type, drawn by seed."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metamath_ray.analysis._options import TextOf
from metamath_ray.dataset_rows import DatasetRow, read_dataset_rows

_TEXTS: dict[TextOf, Callable[[DatasetRow], str]] = {
    "row": lambda row: f"{row.query}\n{row.response}",
    "query": lambda row: row.query,
    "response": lambda row: row.response,
}


@dataclass(frozen=True, slots=True)
class RowSet:
    """Rows in their order; `num_blank` more had nothing to analyse, and are left out."""

    name: str
    rows: tuple[DatasetRow, ...]
    num_blank: int

    def texts(self, of: TextOf) -> list[str]:
        """That text of each row."""
        return [_TEXTS[of](row) for row in self.rows]

    def without_blank(self, of: TextOf) -> "RowSet":
        """The rows in which that text is not blank."""
        filled = tuple(row for row in self.rows if _TEXTS[of](row).strip())
        return RowSet(self.name, filled, self.num_blank + len(self.rows) - len(filled))

    def by_type(self) -> dict[str, int]:
        """How many rows each type has, in order of names."""
        counts = Counter(row.type for row in self.rows)
        return {kind: counts[kind] for kind in sorted(counts)}


def load_row_set(data: str, *, types: Sequence[str], limit: int | None, seed: int, option: str) -> RowSet:
    """The rows of `data`, of these types where any are named, `limit` of them drawn by seed where one is set.

    Raises as `read_dataset_rows` does, and `ValueError` (it names `option`) for an unknown type and where nothing
    is left.
    """
    rows = read_dataset_rows(data)
    there = sorted({row.type for row in rows})
    unknown = [kind for kind in types if kind not in there]
    if unknown:
        raise ValueError(f"{option} {unknown[0]!r} is not in {data!r}; its types are {', '.join(there)}")
    chosen = [row for row in rows if not types or row.type in types]
    filled = [row for row in chosen if row.query.strip()]
    num_blank = len(chosen) - len(filled)
    if not filled:
        raise ValueError(f"every row of {data!r} has a blank query; none can be analysed")
    if limit is not None and limit < len(filled):
        drawn = random.Random(seed).sample(range(len(filled)), limit)
        filled = [filled[place] for place in sorted(drawn)]
    return RowSet(data, tuple(filled), num_blank)
