"""What each round asks: a pure function of seeds, options and the rows that the rounds before have brought.

A unit is one question of one seed and a run of its samples. Units of a cell (source and augmentation) have a
fixed order, breadth first: every seed's first question, then its further questions, then further samples. A
round takes the next units of that order, as many as the rows still missing call for. So it is with uniform
sampling; with adaptive sampling, once a question has its first samples, `allot_samples` says which get more.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.bootstrap._questions import num_questions_of
from metamath_ray.bootstrap._sampling import QuestionKey, QuestionYield, allot_samples, uniform_paths
from metamath_ray.problems import Problem
from metamath_ray.released import Augmentation

Cell = tuple[str, Augmentation]
"""Source and augmentation: what a target is set for."""

_ACCEPTANCE_AT_FIRST = (
    1.0  # the first round measures it: asking for less than needed costs a round, not money
)
_ACCEPTANCE_AT_LEAST = 0.02
MAX_ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Unit:
    """Samples `first_sample …` of question number `variant` of one seed."""

    seed_index: int
    variant: int
    first_sample: int
    num_samples: int


@dataclass(frozen=True, slots=True)
class CellYield:
    """What a cell has brought so far: reasoning paths asked, and rows that selection would keep; by question too."""

    paths: int = 0
    rows: int = 0
    questions: Mapping[QuestionKey, QuestionYield] = field(default_factory=dict)


@dataclass
class Planner:
    """Plans the rounds of a build; remembers how far each cell's order has been used."""

    seeds: Sequence[Problem]
    options: BuildOptions
    _cursors: dict[Cell, Iterator[Unit]] = field(default_factory=dict, init=False)
    _questions: dict[Cell, list[QuestionKey]] = field(default_factory=dict, init=False)
    num_rounds: int = field(default=0, init=False)
    hit_round_limit: bool = field(default=False, init=False)

    def next_round(self, yields: Mapping[Cell, CellYield]) -> dict[Cell, list[Unit]]:
        """The units of the next round by cell; empty when targets are met or questions have run dry."""
        planned = {cell: self._take(cell, yields.get(cell, CellYield())) for cell in self.cells()}
        wanted = {cell: units for cell, units in planned.items() if units}
        if self.num_rounds == MAX_ROUNDS:
            self.hit_round_limit = bool(wanted)
            return {}
        self.num_rounds += bool(wanted)
        return wanted

    def uniform_paths(self, yields: Mapping[Cell, CellYield]) -> dict[Cell, float | None]:
        """Paths that uniform sampling is expected to need for a cell's rows; None where it would run dry.

        Of the cells that adaptive sampling has planned; empty where it had nothing to decide.
        """
        step, most = self._samples
        return {
            cell: uniform_paths(order, yields[cell].questions, step=step, most=most)
            for cell, order in self._questions.items()
            if cell in yields
        }

    def cells(self) -> list[Cell]:
        """Every source of the seeds with every augmentation asked for."""
        sources = sorted({seed.source for seed in self.seeds})
        return [(source, augmentation) for source in sources for augmentation in self.options.augmentations]

    def _take(self, cell: Cell, got: CellYield) -> list[Unit]:
        targets = self.options.target_rows()
        missing = targets.get(cell, 0) - got.rows
        if targets and self.options.sampling == "adaptive":
            return self._adapt(cell, got, missing) if missing > 0 else []
        if cell not in self._cursors:
            self._cursors[cell] = self._order(cell, deep=bool(targets))
        if not targets:
            return list(self._cursors[cell])  # everything in the first round, nothing afterwards
        acceptance = got.rows / got.paths if got.paths else _ACCEPTANCE_AT_FIRST
        paths = missing / max(acceptance, _ACCEPTANCE_AT_LEAST)
        units: list[Unit] = []
        while paths > 0 and (unit := next(self._cursors[cell], None)) is not None:
            units.append(unit)
            paths -= unit.num_samples
        return units

    def _adapt(self, cell: Cell, got: CellYield, missing: int) -> list[Unit]:
        step, most = self._samples
        allotted = allot_samples(
            self._questions_of(cell), got.questions, missing=missing, step=step, most=most
        )
        first = {key: got.questions[key].paths if key in got.questions else 0 for key in allotted}
        return [Unit(*key, first[key], num_samples) for key, num_samples in allotted.items()]

    def _questions_of(self, cell: Cell) -> list[QuestionKey]:
        if cell not in self._questions:
            self._questions[cell] = [(u.seed_index, u.variant) for u in self._order(cell, deep=False)]
        return self._questions[cell]

    @property
    def _samples(self) -> tuple[int, int]:
        """Samples of a question in its first round, and at most."""
        first = self.options.samples_per_question
        return first, max(self.options.max_samples_per_question, first)

    def _order(self, cell: Cell, *, deep: bool) -> Iterator[Unit]:
        """All units of a cell, breadth first; seeds in an order of their own, so that a part is a fair sample."""
        source, augmentation = cell
        indices = [i for i, seed in enumerate(self.seeds) if seed.source == source]
        indices.sort(key=lambda i: _priority(self.options.seed, augmentation, self.seeds[i].id))
        counts = {i: num_questions_of(self.seeds[i], augmentation, self.options) for i in indices}
        step, most = self._samples
        stop = most if deep else step
        for first in range(0, stop, step):
            for variant in range(max(counts.values(), default=0)):
                for i in indices:
                    if variant < counts[i]:
                        yield Unit(i, variant, first, min(step, stop - first))


def group_by_seed(planned: Mapping[Cell, Sequence[Unit]]) -> list[tuple[int, Augmentation, list[Unit]]]:
    """The round's units by seed and augmentation: what shares a first call to the teacher stays together.

    In the order of the seeds, so that calls of all augmentations, first and second, run side by side.
    """
    groups: dict[tuple[int, Augmentation], list[Unit]] = defaultdict(list)
    for (_, augmentation), units in planned.items():
        for unit in units:
            groups[unit.seed_index, augmentation].append(unit)
    return [(index, augmentation, groups[index, augmentation]) for index, augmentation in sorted(groups)]


def _priority(seed: int, augmentation: str, seed_id: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{augmentation}\n{seed_id}".encode()).digest()
