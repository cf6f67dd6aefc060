"""The few samples that a demo's page tells its story with: what a seed became, what the student then wrote."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from metamath_ray.released import Augmentation
from metamath_ray.reports._demo_run import Demo
from metamath_ray.reports._evaluation_run import COLUMNS, read_greedy
from metamath_ray.reports._run import Run
from metamath_ray.reports._scan import read_batches

_T = TypeVar("_T")
_Row = Mapping[str, Any]
_Key = tuple[str, str, str]

_ROW_COLUMNS = ["type", "query", "original_question", "response", "seed_id", "augmentation", "expected"]
_PATH_COLUMNS = ["seed_id", "augmentation", "question", "response", "extracted", "verdict"]

OUTCOMES = {
    (False, True): ("Wrong before, right after", 4),
    (True, False): ("Right before, wrong after", 4),
    (False, False): ("Wrong both times", 4),
    (True, True): ("Right both times", 2),
}
"""Titles by whether a problem was right before and after, and how many of it the page shows."""


@dataclass(frozen=True, slots=True)
class DerivedSample:
    """A question derived from a seed, a path of it that became a row, and one that was rejected, if there is one."""

    type: str
    question: str
    expected: str
    kept: str
    rejected: str
    rejected_extracted: str


@dataclass(frozen=True, slots=True)
class SeedSample:
    """A seed problem and what became of it, an augmentation each."""

    seed_id: str
    question: str
    derived: tuple[DerivedSample, ...]


@dataclass(frozen=True, slots=True)
class OutcomeSample:
    """A problem with both completions; the two rows hold `COLUMNS` of the predictions."""

    benchmark: str
    before: _Row
    after: _Row


@dataclass(frozen=True, slots=True)
class Outcome:
    """Problems of one outcome: how many there are, and a few of them."""

    title: str
    count: int
    samples: tuple[OutcomeSample, ...]


def sample_seeds(run: Run) -> tuple[SeedSample, ...]:
    """As few seeds as show every augmentation that has a row, the same for the same dataset.

    Of the seeds with most augmentations, and a rejected path besides, the one with the smallest digest.
    """
    rejected = _rejected_paths(run.candidates)
    by_seed: dict[str, dict[str, _Row]] = defaultdict(dict)
    for row in _read(run.dataset, _ROW_COLUMNS):
        held = by_seed[row["seed_id"]].setdefault(row["augmentation"], row)
        if _key(row) in rejected and _key(held) not in rejected:
            by_seed[row["seed_id"]][row["augmentation"]] = row
    wanted = {augmentation for rows in by_seed.values() for augmentation in rows}
    samples = []
    while wanted:
        seed_id = min(by_seed, key=lambda one: _rank(one, by_seed[one], wanted, rejected))
        rows = by_seed[seed_id]
        derived = tuple(_derived(rows[name], rejected) for name in sorted(wanted & rows.keys(), key=_order))
        samples.append(SeedSample(seed_id, next(iter(rows.values()))["original_question"], derived))
        wanted -= rows.keys()
    return tuple(samples)


def sample_outcomes(demo: Demo) -> tuple[Outcome, ...]:
    """Every outcome with a problem, with a few spread over the benchmarks' problems."""
    found: dict[tuple[bool, bool], list[OutcomeSample]] = {outcome: [] for outcome in OUTCOMES}
    verdict = f"verdict_{demo.after.summary.grader}"
    for name in demo.comparison.benchmarks:
        before, after = (_by_id(evaluation.tables[name]) for evaluation in (demo.before, demo.after))
        for problem_id in before.keys() & after.keys():
            one, other = before[problem_id], after[problem_id]
            found[one[verdict] == "correct", other[verdict] == "correct"].append(
                OutcomeSample(name, one, other)
            )
    return tuple(
        Outcome(title, len(found[key]), _spread(sorted(found[key], key=_place), limit))
        for key, (title, limit) in OUTCOMES.items()
        if found[key]
    )


def _rejected_paths(paths: Sequence[Path]) -> dict[_Key, _Row]:
    """The first incorrect path of each question."""
    rejected: dict[_Key, _Row] = {}
    for row in _read(paths, _PATH_COLUMNS):
        if row["verdict"] == "incorrect":
            rejected.setdefault((row["seed_id"], row["augmentation"], row["question"]), row)
    return rejected


def _read(paths: Iterable[Path], columns: list[str]) -> Iterable[_Row]:
    return (row for path in paths for batch in read_batches(path, columns) for row in batch.to_pylist())


def _key(row: _Row) -> _Key:
    return row["seed_id"], row["augmentation"], row["query"]


def _rank(
    seed_id: str, rows: Mapping[str, _Row], wanted: set[str], rejected: Mapping[_Key, _Row]
) -> tuple[int, bool, str]:
    has_rejected = any(_key(row) in rejected for row in rows.values())
    return -len(wanted & rows.keys()), not has_rejected, hashlib.sha256(seed_id.encode()).hexdigest()


def _derived(row: _Row, rejected: Mapping[_Key, _Row]) -> DerivedSample:
    wrong = rejected.get(_key(row), {})
    return DerivedSample(
        type=row["type"],
        question=row["query"],
        expected=row["expected"],
        kept=row["response"],
        rejected=wrong.get("response", ""),
        rejected_extracted=wrong.get("extracted", ""),
    )


def _order(augmentation: str) -> tuple[int, str]:
    """The paper's order, and what it does not know last."""
    known = get_args(Augmentation)
    return (known.index(augmentation) if augmentation in known else len(known)), augmentation


def _by_id(table: Path) -> dict[str, _Row]:
    return {row["problem_id"]: row for row in read_greedy(table, COLUMNS).to_pylist()}


def _place(sample: OutcomeSample) -> tuple[str, str]:
    return sample.benchmark, str(sample.before["problem_id"])


def _spread(items: Sequence[_T], limit: int) -> tuple[_T, ...]:
    count = min(limit, len(items))
    return tuple(items[number * len(items) // count] for number in range(count))
