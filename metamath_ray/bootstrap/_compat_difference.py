"""Where the paper's rules and the fixed ones part: on which paths, by how many points, on which seeds."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from metamath_ray.bootstrap._augmentations import declarative_request
from metamath_ray.bootstrap._mask import Compat, Mask
from metamath_ray.bootstrap._masking import find_masks
from metamath_ray.bootstrap._selection_records import SelectionCandidate
from metamath_ray.problems import Problem
from metamath_ray.released import released_type


@dataclass(frozen=True)
class SeedDifference:
    """How masks and clauses of the seeds differ. A mask is the same with the same span, gold and sign behind it."""

    seeds: int = 0
    masks_paper: int = 0
    masks_fixed: int = 0
    masks_only_paper: int = 0
    masks_only_fixed: int = 0
    seeds_masks_differ: int = 0
    clauses_differ: int = 0
    clauses_empty_paper: int = 0


@dataclass(frozen=True)
class PathDifference:
    """Verdicts of the paper's cleaning and of the fixed rules on the same paths, the run's own.

    `verdicts_differ` counts any two verdicts, the two `correct_only_…` those where one rule set accepts.
    `rows_refused` of the selected rows have a path that the rules which the run did not use refuse.
    """

    paths: int = 0
    verdicts_differ: int = 0
    correct_paper: int = 0
    correct_fixed: int = 0
    correct_only_paper: int = 0
    correct_only_fixed: int = 0
    rows: int = 0
    rows_refused: int = 0

    @property
    def points(self) -> float:
        """Percentage points of all paths that the paper's cleaning accepts above the fixed rules."""
        return 100 * (self.correct_paper - self.correct_fixed) / self.paths if self.paths else 0.0

    def plus(self, other: "PathDifference") -> "PathDifference":
        """The sum, field by field."""
        return PathDifference(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def compare_rules(
    table: pa.Table, rows: Sequence[SelectionCandidate], seeds: Sequence[Problem], *, compat: Compat
) -> dict[str, Any]:
    """The difference of the two rule sets for `summary.json`: by type, in all, and on the seeds."""
    by_type = compare_verdicts(table, rows, compat=compat)
    total = PathDifference()
    for difference in by_type.values():
        total = total.plus(difference)
    return {
        "by_type": {name: _as_json(difference) for name, difference in sorted(by_type.items())},
        "total": _as_json(total),
        "seeds": asdict(compare_seeds(seeds)),
    }


def compare_verdicts(
    table: pa.Table, rows: Iterable[SelectionCandidate], *, compat: Compat
) -> dict[str, PathDifference]:
    """The difference for each released type, of candidates graded under `compat`; unbuilt questions are no paths."""
    selected = {(row.question_id, row.request_key) for row in rows}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    columns = ["source", "augmentation", "verdict", "other_verdict", "question_id", "request_key"]
    built = table.filter(pc.not_equal(table.column("question"), "")).select(columns)
    for row in (row for batch in built.to_batches(max_chunksize=4096) for row in batch.to_pylist()):
        one, other = row["verdict"], row["other_verdict"]
        paper, fixed = (one, other) if compat == "paper" else (other, one)
        is_selected = (row["question_id"], row["request_key"]) in selected
        counts[released_type(row["source"], row["augmentation"])].update(
            paths=1,
            verdicts_differ=paper != fixed,
            correct_paper=paper == "correct",
            correct_fixed=fixed == "correct",
            correct_only_paper=paper == "correct" != fixed,
            correct_only_fixed=fixed == "correct" != paper,
            rows=is_selected,
            rows_refused=is_selected and other != "correct",
        )
    return {name: PathDifference(**count) for name, count in counts.items()}


def compare_seeds(seeds: Sequence[Problem]) -> SeedDifference:
    """How the two rule sets mask the seeds' numbers and cut their last clause, whatever was sampled."""
    counts: Counter[str] = Counter(seeds=len(seeds))
    for seed in seeds:
        paper, fixed = (
            {_identity(mask) for mask in find_masks(seed.question, style=seed.style, compat=compat)}
            for compat in ("paper", "fixed")
        )
        asked_paper, asked_fixed = (
            declarative_request(seed.question, "", style=seed.style, compat=compat)
            for compat in ("paper", "fixed")
        )
        counts.update(
            masks_paper=len(paper),
            masks_fixed=len(fixed),
            masks_only_paper=len(paper - fixed),
            masks_only_fixed=len(fixed - paper),
            seeds_masks_differ=paper != fixed,
            clauses_differ=asked_paper != asked_fixed,
            clauses_empty_paper=asked_paper == _EMPTY_CLAUSE,
        )
    return SeedDifference(**counts)


_EMPTY_CLAUSE = "Question: \nAnswer: "


def _identity(mask: Mask) -> tuple[int, int, str, str]:
    return mask.start, mask.end, mask.value, mask.suffix


def _as_json(difference: PathDifference) -> dict[str, float]:
    return asdict(difference) | {"points": round(difference.points, 2)}
