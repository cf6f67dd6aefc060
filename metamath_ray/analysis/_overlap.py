"""What a set of rows shares with a base set: whole texts, runs of words, and all but a few words."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from metamath_ray.analysis._options import OverlapOptions
from metamath_ray.analysis._row_sets import RowSet
from metamath_ray.analysis._sketches import (
    NUM_PERMUTATIONS,
    Hashes,
    Signatures,
    Sketches,
    hash_runs,
    jaccard,
    numbers_of,
    sketch_texts,
    split_words,
    trigrams_of,
)
from metamath_ray.analysis._workers import OnProgress

Pairs = npt.NDArray[np.int64]

_MAX_MISS = 1e-3


@dataclass(frozen=True, slots=True)
class GroupOverlap:
    """How many rows of one type, or of all, share something; `gram_share` is the mean share of a row's runs.

    `exact`, `near` and `gram_only` (a run of words, and no more) count no row twice.
    """

    rows: int
    exact: int
    near: int
    near_same_numbers: int
    gram_only: int
    with_gram: int
    gram_share: float


@dataclass(frozen=True, slots=True)
class OverlapResult:
    """The counts, and what was compared; `near` counts pairs that are not exact.

    `miss_at_threshold`: the chance that a pair just at the threshold is not found.
    """

    total: GroupOverlap
    by_type: dict[str, GroupOverlap]
    text: str
    gram_words: int
    threshold: float
    num_texts: int
    num_base_texts: int
    num_pairs: int
    miss_at_threshold: float


@dataclass(frozen=True, slots=True)
class _Texts:
    """The distinct texts of a set, by their words, with the rows that have each."""

    words: list[tuple[str, ...]]
    rows: list[list[int]]
    texts: list[str]
    of_row: list[int]


@dataclass(frozen=True, slots=True)
class _Match:
    """What one distinct text shares with the base: places of base texts (-1: none)."""

    exact: int
    near: list[tuple[float, int]]
    gram_share: float
    gram: str


def analyze_overlap(
    data: RowSet, base: RowSet, *, options: OverlapOptions, on_progress: OnProgress
) -> tuple[OverlapResult, pa.Table, pa.Table]:
    """The result, a table with a row for each row of `data`, and the table of near pairs, nearest first."""
    new, old = _distinct(data.texts(options.text)), _distinct(base.texts(options.text))
    on_progress("texts sketched", 0, len(new.texts) + len(old.texts))
    sketches = sketch_texts([*new.texts, *old.texts], gram_words=options.gram_words)
    on_progress("texts sketched", len(new.texts) + len(old.texts), len(new.texts) + len(old.texts))
    of_new, of_old = _split(sketches, len(new.texts))
    bands, rows = band_shape(options.threshold)
    candidates = find_candidates(of_new.signatures, of_old.signatures, bands=bands, rows=rows)
    near = _confirm(candidates, new, old, options)
    exact = {words: place for place, words in enumerate(old.words)}
    base_grams = np.unique(np.concatenate([np.empty(0, np.uint64), *of_old.grams]))
    matches = [
        _match(place, new, exact, near, of_new.grams[place], base_grams, options.gram_words)
        for place in range(len(new.texts))
    ]
    table = _row_table(data, base, new, old, matches)
    pairs = _pair_table(data, base, new, old, near)
    return _result(table, pairs, new, old, options, bands, rows), table, pairs


def band_shape(threshold: float) -> tuple[int, int]:
    """Bands, and rows of each: the most rows, so the fewest false pairs, that miss under 0.1 % at the threshold."""
    for rows in (16, 8, 4, 2):
        bands = NUM_PERMUTATIONS // rows
        if (1 - threshold**rows) ** bands < _MAX_MISS:
            return bands, rows
    return NUM_PERMUTATIONS, 1


def find_candidates(new: Signatures, old: Signatures, *, bands: int, rows: int) -> Pairs:
    """Pairs (place in new, place in old) whose signatures agree in all rows of a band; each once, in order."""
    found: list[Pairs] = [np.empty((0, 2), np.int64)]
    for band in range(bands):
        columns = slice(band * rows, (band + 1) * rows)
        found.append(np.unique(_join(_fold(new[:, columns]), _fold(old[:, columns])), axis=0))
    return np.unique(np.concatenate(found), axis=0)


def _fold(values: Signatures) -> Hashes:
    """A row of values as one 64-bit hash."""
    folded = np.zeros(len(values), np.uint64)
    for column in values.T:
        folded = (folded ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        folded ^= folded >> np.uint64(29)
    return folded


def _join(new: Hashes, old: Hashes) -> Pairs:
    """All pairs of places with equal values."""
    order = np.argsort(old, kind="stable")
    ordered = old[order]
    first, last = np.searchsorted(ordered, new, "left"), np.searchsorted(ordered, new, "right")
    counts = last - first
    of_new = np.repeat(np.arange(len(new)), counts)
    starts = np.repeat(first - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return np.column_stack([of_new, order[starts + np.arange(counts.sum())]])


def _confirm(
    candidates: Pairs, new: _Texts, old: _Texts, options: OverlapOptions
) -> dict[int, list[tuple[float, int]]]:
    """Of each new text the base texts at or above the threshold, the nearest first, a few of them."""

    @lru_cache(maxsize=1 << 16)
    def of_old(place: int) -> frozenset[tuple[str, ...]]:
        return trigrams_of(old.words[place])

    near: dict[int, list[tuple[float, int]]] = defaultdict(list)
    last, own = -1, frozenset[tuple[str, ...]]()
    for one, other in candidates.tolist():
        if one != last:
            last, own = one, trigrams_of(new.words[one])
        if (similarity := jaccard(own, of_old(other))) >= options.threshold:
            near[one].append((similarity, other))
    for pairs in near.values():
        pairs.sort(key=lambda pair: (-pair[0], pair[1]))
        del pairs[options.pairs_per_row :]
    return near


def _match(
    place: int,
    new: _Texts,
    exact: dict[tuple[str, ...], int],
    near: dict[int, list[tuple[float, int]]],
    grams: Hashes,
    base_grams: Hashes,
    gram_words: int,
) -> _Match:
    shared = np.isin(grams, base_grams)
    words = new.words[place]
    gram = ""
    if shared.any():
        first = int(np.argmax(np.isin(hash_runs(words, gram_words), grams[shared])))
        gram = " ".join(words[first : first + gram_words])
    share = float(shared.mean()) if len(grams) else 0.0
    return _Match(exact.get(words, -1) if words else -1, near.get(place, []), share, gram)


def _distinct(texts: Sequence[str]) -> _Texts:
    places: dict[tuple[str, ...], int] = {}
    found = _Texts([], [], [], [])
    for row, text in enumerate(texts):
        words = tuple(split_words(text))
        place = places.setdefault(words, len(places))
        if place == len(found.texts):
            found.words.append(words)
            found.texts.append(text)
            found.rows.append([])
        found.rows[place].append(row)
        found.of_row.append(place)
    return found


def _split(sketches: Sketches, num_new: int) -> tuple[Sketches, Sketches]:
    return (
        Sketches(sketches.grams[:num_new], sketches.signatures[:num_new]),
        Sketches(sketches.grams[num_new:], sketches.signatures[num_new:]),
    )


def _row_table(data: RowSet, base: RowSet, new: _Texts, old: _Texts, matches: list[_Match]) -> pa.Table:
    def base_id(place: int) -> str:
        return base.rows[old.rows[place][0]].row_id if place >= 0 else ""

    of_row = [matches[place] for place in new.of_row]
    nearest = [match.near[0] if match.near else (0.0, -1) for match in of_row]
    same = [
        other >= 0 and numbers_of(new.words[place]) == numbers_of(old.words[other])
        for place, (_, other) in zip(new.of_row, nearest, strict=True)
    ]
    return pa.table(
        {
            "row_id": [row.row_id for row in data.rows],
            "type": [row.type for row in data.rows],
            "exact_row_id": [base_id(match.exact) for match in of_row],
            "near_row_id": [base_id(other) for _, other in nearest],
            "jaccard": [similarity for similarity, _ in nearest],
            "same_numbers": same,
            "gram_share": [match.gram_share for match in of_row],
            "first_shared_gram": [match.gram for match in of_row],
        }
    )


def _pair_table(
    data: RowSet, base: RowSet, new: _Texts, old: _Texts, near: dict[int, list[tuple[float, int]]]
) -> pa.Table:
    pairs = [(one, other, value) for one, found in near.items() for value, other in found]
    pairs.sort(key=lambda pair: (-pair[2], pair[0], pair[1]))
    return pa.table(
        {
            "row_id": pa.array([data.rows[new.rows[one][0]].row_id for one, _, _ in pairs], pa.string()),
            "base_row_id": pa.array(
                [base.rows[old.rows[other][0]].row_id for _, other, _ in pairs], pa.string()
            ),
            "jaccard": pa.array([value for _, _, value in pairs], pa.float64()),
            "is_exact": pa.array([new.words[one] == old.words[other] for one, other, _ in pairs], pa.bool_()),
            "same_numbers": pa.array(
                [numbers_of(new.words[one]) == numbers_of(old.words[other]) for one, other, _ in pairs],
                pa.bool_(),
            ),
            "rows_with_text": pa.array([len(new.rows[one]) for one, _, _ in pairs], pa.int64()),
            "text": pa.array([new.texts[one] for one, _, _ in pairs], pa.string()),
            "base_text": pa.array([old.texts[other] for _, other, _ in pairs], pa.string()),
        }
    )


def _result(
    table: pa.Table, pairs: pa.Table, new: _Texts, old: _Texts, options: OverlapOptions, bands: int, rows: int
) -> OverlapResult:
    records = table.select(["type", "exact_row_id", "near_row_id", "same_numbers", "gram_share"]).to_pylist()
    by_type: dict[str, list[dict[str, object]]] = defaultdict(list)
    for record in records:
        by_type[str(record["type"])].append(record)
    return OverlapResult(
        total=_count(records),
        by_type={kind: _count(by_type[kind]) for kind in sorted(by_type)},
        text=options.text,
        gram_words=options.gram_words,
        threshold=options.threshold,
        num_texts=len(new.texts),
        num_base_texts=len(old.texts),
        num_pairs=pairs.num_rows,
        miss_at_threshold=(1 - options.threshold**rows) ** bands,
    )


def _count(records: Sequence[dict[str, object]]) -> GroupOverlap:
    near = [record for record in records if record["near_row_id"] and not record["exact_row_id"]]
    shares = [float(str(record["gram_share"])) for record in records]
    return GroupOverlap(
        rows=len(records),
        exact=sum(bool(record["exact_row_id"]) for record in records),
        near=len(near),
        near_same_numbers=sum(bool(record["same_numbers"]) for record in near),
        gram_only=sum(share > 0 and not _is_repeat(one) for one, share in zip(records, shares, strict=True)),
        with_gram=sum(share > 0 for share in shares),
        gram_share=sum(shares) / len(shares),
    )


def _is_repeat(record: dict[str, object]) -> bool:
    return bool(record["exact_row_id"] or record["near_row_id"])
