"""A mix's training set: a pure function of the mix, the seed and the rows.

Each row has a priority, SHA-256 of the seed and its id. A part takes first one row of each question, then a second,
and so on, by priority: a larger part of one seed holds every smaller one, and two mixes share the rows of the types
that they share.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from metamath_ray.ablation._mixes import Mix, share_out
from metamath_ray.ablation._pool import MixRow, Pool, normalise_question

Equal = Literal["none", "rows", "tokens", "steps"]
"""What all mixes have the same of."""


@dataclass(frozen=True, slots=True)
class MixSample:
    """The rows of a mix under one seed, in an order that the seed shuffles.

    `digest` is the SHA-256 in hex of what is trained on, order included.
    """

    mix: str
    seed: int
    rows: tuple[MixRow, ...]
    digest: str

    @property
    def name(self) -> str:
        """`MIX-SEED`, a trial's name and folder."""
        return f"{self.mix}-{self.seed}"

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return sum(row.tokens for row in self.rows)

    def by_type(self) -> dict[str, int]:
        """Rows by type, in order of names."""
        return dict(sorted(Counter(row.type for row in self.rows).items()))


_Parts = list[tuple[MixRow, ...]]


def sample_mixes(
    mixes: Sequence[Mix], pool: Pool, *, seeds: Sequence[int], equal: Equal = "none", size: int | None = None
) -> tuple[MixSample, ...]:
    """Every mix under every seed, seeds innermost.

    With `equal` rows or tokens all are cut to `size`, or else to the smallest, in each mix's own proportions; tokens
    come as close from below as whole rows do. Raises `ValueError` where `size` is more than the smallest has.
    """
    drawn = {(mix, seed): _draw(mix, pool, seed) for mix in mixes for seed in seeds}
    if equal in ("rows", "tokens"):
        measure = len if equal == "rows" else _count_tokens
        sizes = {key: sum(map(measure, parts)) for key, parts in drawn.items()}
        (smallest, _), least = min(sizes.items(), key=lambda item: item[1])
        if size is not None and size > least:
            raise ValueError(f"size must be at most the {least} {equal} of mix {smallest.name!r}, got {size}")
        cut = _cut_rows if equal == "rows" else _cut_tokens
        drawn = {key: cut(parts, size or least) for key, parts in drawn.items()}
    return tuple(_shuffled(mix, seed, parts) for (mix, seed), parts in drawn.items())


def _draw(mix: Mix, pool: Pool, seed: int) -> _Parts:
    parts: _Parts = []
    taken: set[tuple[str, str]] = set()
    for kind, count in mix.parts:
        assert count != "all", "resolve_mixes has counted"
        rows = [row for row in _ranked(pool.rows_of(kind), seed) if (row.query, row.response) not in taken]
        parts.append(tuple(rows[:count]))
        taken.update((row.query, row.response) for row in parts[-1])
    return parts


def _ranked(rows: Iterable[MixRow], seed: int) -> list[MixRow]:
    """Rows breadth first over questions, by priority."""
    num_before: Counter[str] = Counter()
    ranks: list[tuple[int, bytes, MixRow]] = []
    for priority, row in sorted(((_priority(row, seed), row) for row in rows), key=lambda pair: pair[0]):
        question = normalise_question(row.query)
        ranks.append((num_before[question], priority, row))
        num_before[question] += 1
    return [row for _, _, row in sorted(ranks, key=lambda rank: rank[:2])]


def _priority(row: MixRow, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{row.row_id}".encode()).digest()


def _cut_rows(parts: _Parts, target: int) -> _Parts:
    counts = share_out(target, {str(place): len(rows) for place, rows in enumerate(parts)})
    return [rows[: counts[str(place)]] for place, rows in enumerate(parts)]


def _cut_tokens(parts: _Parts, target: int) -> _Parts:
    whole = sum(map(_count_tokens, parts))
    return [_rows_of_tokens(rows, target * _count_tokens(rows) // whole) for rows in parts]


def _rows_of_tokens(rows: tuple[MixRow, ...], most: int) -> tuple[MixRow, ...]:
    total = 0
    for place, row in enumerate(rows):
        total += row.tokens
        if total > most:
            return rows[:place]
    return rows


def _count_tokens(rows: Iterable[MixRow]) -> int:
    return sum(row.tokens for row in rows)


def _shuffled(mix: Mix, seed: int, parts: _Parts) -> MixSample:
    rows = sorted((row for part in parts for row in part), key=lambda row: _priority(row, seed))
    return MixSample(mix.name, seed, tuple(rows), _digest(rows))


def _digest(rows: Iterable[MixRow]) -> str:
    state = hashlib.sha256()
    for row in rows:
        state.update(json.dumps([row.query, row.response]).encode())
    return state.hexdigest()
