"""What selection takes and gives: candidates, rules, rows, and what was dropped for which reason."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from metamath_ray.bootstrap._contamination import ContaminationIndex

DropReason = Literal[
    "contaminated", "exact_duplicate", "near_duplicate_question", "near_duplicate_path", "over_target"
]
"""Why a candidate is no row, in the order in which the rules are applied; each candidate has one reason."""

NUM_EXAMPLES = 5
"""Examples kept for each reason: those of the smallest priority."""


@dataclass(frozen=True, slots=True)
class SelectionCandidate:
    """A reasoning path whose verdict is `correct`, with what a training row needs.

    `question_id` and `request_key` together are unique in a run. `type` is the released name
    (`GSM_Rephrased`), `original_question` the seed's own text.
    """

    question_id: str
    seed_id: str
    source: str
    augmentation: str
    type: str
    question: str
    response: str
    sample_index: int
    request_key: str
    expected: str
    teacher: str
    original_question: str


@dataclass(frozen=True, slots=True)
class SelectionRules:
    """What decides a selection. A cell without a target has no limit.

    `near_duplicate_threshold` is a Jaccard similarity above 0 and up to 1; None keeps near duplicates, as the
    paper does. `contamination` None lets everything through.
    """

    seed: int = 0
    targets: Mapping[tuple[str, str], int] = field(default_factory=dict)
    near_duplicate_threshold: float | None = None
    contamination: ContaminationIndex | None = None

    def __post_init__(self) -> None:
        threshold = self.near_duplicate_threshold
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f"near_duplicate_threshold must be above 0 and at most 1, got {threshold}")
        for (source, augmentation), target in self.targets.items():
            if target < 0:
                raise ValueError(f"targets.{source}.{augmentation} must be at least 0, got {target}")


@dataclass(frozen=True, slots=True, order=True)
class DroppedExample:
    """A candidate that is no row; `against` holds what it repeats or shares, where a rule names it."""

    row_id: str
    type: str
    question: str
    response: str
    against: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows in their final order, and how many candidates each rule dropped, by reason and type."""

    rows: list[SelectionCandidate]
    dropped: dict[DropReason, dict[str, int]]
    examples: dict[DropReason, list[DroppedExample]]


def row_id(candidate: SelectionCandidate) -> str:
    """The row's lasting name: 16 hex digits of SHA-256 over question id and request key."""
    return hashlib.sha256(f"{candidate.question_id}\n{candidate.request_key}".encode()).hexdigest()[:16]


def dataset_sha256(rows: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 of the rows, in their order, as JSON lines with sorted keys in UTF-8; streams."""
    state = hashlib.sha256()
    for row in rows:
        line = json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        state.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return state.hexdigest()
