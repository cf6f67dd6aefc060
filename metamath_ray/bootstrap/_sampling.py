"""Adaptive sampling: which questions are asked for further reasoning paths, by what their paths have brought.

The chance that one more path of a question becomes a row is `right * new`, two posterior means:

right   (s m + c) / (s + n): c of its n paths were right. m is the mean of the cell's questions, and s says how
        many paths that mean is worth: few where some questions are always right and others never. Paths of the
        seed's other questions count half.
new     v / (v + c): a question's right paths begin to repeat each other. v, how varied they are, is fitted to
        the repeats that selection found in the cell, and drawn towards the question's own.

The next path is asked where this chance is greatest. So a question that is sometimes right comes before one that is
always right in the same words, and one that was never right is left for the end. New questions come before all
further paths: their rows teach more (PAPER: further answer-augmentation rows gain least).
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

QuestionKey = tuple[int, int]
"""Index of the seed, and which of its questions."""

_WORTH_IT = 0.5  # of the mean chance; what lies below waits until the others have been sampled
_SIBLING = 0.5  # of a path: one of another question of the same seed
_OWN_REPEATS = 3.0  # rows from which a question's own repeats count more than the cell's
_ALIKE = (0.02, 0.9)  # correlation of a question's paths, as far as the few of a small cell are believed
_SHARES = (0.001, 0.999)
_VARIETIES = (0.1, 1e4)


@dataclass(frozen=True, slots=True)
class QuestionYield:
    """A question's reasoning paths so far: asked, right, and such as selection would keep."""

    paths: int = 0
    correct: int = 0
    rows: int = 0
    is_usable: bool = True


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is expected of one question: the share of right paths among its next, and how varied they are."""

    seen: QuestionYield
    right: float
    variety: float

    def chance(self, extra: float = 0.0) -> float:
        """Rows expected of one more path, when `extra` more than those seen have been asked."""
        known = self.seen.correct + self.right * extra
        if self.seen.rows == 0 < self.seen.correct:  # right, and yet no row: perhaps none ever will be
            return self.right / (known + 2)
        return self.right * self.variety / (self.variety + known)

    def expected(self, paths: int) -> float:
        """Rows expected of the question's first `paths`."""
        if self.seen.rows == 0 < self.seen.correct:
            return 0.0
        return self.variety * math.log1p(self.right * paths / self.variety)


@dataclass(frozen=True, slots=True)
class CellModel:
    """What the questions of one cell have in common; as it is here before anything was asked: every path a row."""

    mean: float = 1.0
    strength: float = 1.0
    variety: float = _VARIETIES[1]
    usable: float = 1.0

    @classmethod
    def fit(cls, yields: Collection[QuestionYield]) -> "CellModel":
        """The model under which these yields are likely, in whatever order they come."""
        asked = [one for one in yields if one.is_usable]
        if not asked:
            return cls(usable=1 / (len(yields) + 1))
        mean, strength = _fit_right(asked)
        return cls(mean, strength, _fit_variety(asked), len(asked) / len(yields))

    def outlook(self, seen: QuestionYield, others: QuestionYield) -> Outlook:
        """What to expect of a question; `others` are the paths of its seed's other questions, added up."""
        correct = self.strength * self.mean + seen.correct + _SIBLING * others.correct
        right = correct / (self.strength + seen.paths + _SIBLING * others.paths)
        if not seen.paths:
            right *= self.usable
        further = _further_rows(self.variety, seen.correct)
        own = self.variety * (_OWN_REPEATS + max(seen.rows - 1, 0)) / (_OWN_REPEATS + further)
        return Outlook(seen, right, own)


def allot_samples(
    order: Sequence[QuestionKey],
    yields: Mapping[QuestionKey, QuestionYield],
    *,
    missing: float,
    step: int,
    most: int,
) -> dict[QuestionKey, int]:
    """How many further paths to ask of which questions, until `missing` more rows are expected.

    New questions come first, in their order and with `step` paths each; then further paths of the others, `step`
    at a time and in one call no more than a question has had. `most` is the limit of one question's paths: where
    less is expected of all that are left than is missing, all are asked for. Empty where none is left.
    """
    outlooks = _outlooks(order, yields, most)
    left = {key: most - outlook.seen.paths for key, outlook in outlooks.items()}
    further = (one.expected(most) - one.expected(one.seen.paths) for one in outlooks.values())
    if math.fsum(further) <= missing:
        return left
    least = _WORTH_IT * math.fsum(outlook.chance() for outlook in outlooks.values()) / len(outlooks)
    worth_it = {key: outlook for key, outlook in outlooks.items() if outlook.chance() >= least}
    allotted: dict[QuestionKey, int] = {}
    heap: list[tuple[float, int, QuestionKey]] = []
    for place, (key, outlook) in enumerate(worth_it.items()):
        is_new = outlook.seen.paths == 0
        heap.append((-math.inf if is_new else -outlook.chance(), place, key))
    heapq.heapify(heap)
    while heap and missing > 0:
        _, place, key = heapq.heappop(heap)
        outlook, extra = worth_it[key], allotted.get(key, 0)
        paths = min(step, left[key] - extra)
        missing -= paths * outlook.chance(extra)
        allotted[key] = extra = extra + paths
        if extra < min(outlook.seen.paths, left[key]) and outlook.chance(extra) >= least:
            heapq.heappush(heap, (-outlook.chance(extra), place, key))
    return allotted


def uniform_paths(
    order: Sequence[QuestionKey], yields: Mapping[QuestionKey, QuestionYield], *, step: int, most: int
) -> float | None:
    """Paths that uniform sampling is expected to need for as many rows; None where it would run dry before.

    It asks every question in turn for `step` paths, then every one for as many again. What a question brings then is
    what is to be believed of it by its yields, and in all as much as the yields are for the paths that were asked.
    """
    outlooks = _outlooks(order, yields, None)
    rows = sum(one.rows for one in yields.values())
    missing = (
        math.fsum(outlook.expected(outlook.seen.paths) for outlook in outlooks.values()) if rows else 0.0
    )
    paths = 0
    for first in range(0, most, step):
        taken = min(step, most - first)
        for outlook in outlooks.values():
            more = outlook.expected(first + taken) - outlook.expected(first)
            if more >= missing:
                return paths + (taken * missing / more if more else 0.0)
            missing -= more
            paths += taken
    return None


def _outlooks(
    order: Sequence[QuestionKey], yields: Mapping[QuestionKey, QuestionYield], most: int | None
) -> dict[QuestionKey, Outlook]:
    """Those of the questions that may be asked for more than they were."""
    model = CellModel.fit(yields.values()) if yields else CellModel()
    by_seed = _add_up(yields)
    outlooks = {}
    for key in order:
        seen = yields.get(key, QuestionYield())
        if seen.is_usable and (most is None or seen.paths < most):
            correct, paths = by_seed[key[0]]
            outlooks[key] = model.outlook(seen, QuestionYield(paths - seen.paths, correct - seen.correct))
    return outlooks


def _add_up(yields: Mapping[QuestionKey, QuestionYield]) -> dict[int, tuple[int, int]]:
    """Right paths and all paths of each seed."""
    sums: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for (seed_index, _), one in yields.items():
        if one.is_usable:
            correct, paths = sums[seed_index]
            sums[seed_index] = correct + one.correct, paths + one.paths
    return sums


def _fit_right(yields: Sequence[QuestionYield]) -> tuple[float, float]:
    """Mean m and strength s of the Beta distribution that the questions' shares of right paths come from.

    Each round takes the mean and the mean square of what is to be believed of the questions for those of the next:
    so it does not matter that some were asked more often because they began well.
    """
    kinds = sorted(Counter((one.paths, one.correct) for one in yields).items())
    mean, strength = 0.5, 1.0
    for _ in range(60):
        shares = squares = 0.0
        for (paths, correct), count in kinds:
            size = strength + paths
            share = (strength * mean + correct) / size
            shares += count * share
            squares += count * share * (share * size + 1) / (size + 1)
        mean = min(max(shares / len(yields), _SHARES[0]), _SHARES[1])
        alike = (squares / len(yields) - mean**2) / (mean - mean**2)
        strength = 1 / min(max(alike, _ALIKE[0]), _ALIKE[1]) - 1
    return mean, strength


def _fit_variety(yields: Sequence[QuestionYield]) -> float:
    """The v at which as many repeats are expected as were found, by bisection."""
    told = [one for one in yields if one.correct > 1 and one.rows]
    if not told:
        return _VARIETIES[1]
    further = sum(one.rows - 1 for one in told)
    questions = Counter(one.correct for one in told)
    low, high = _VARIETIES
    for _ in range(30):
        middle = math.sqrt(low * high)
        expected = math.fsum(_further_rows(middle, c) * count for c, count in questions.items())
        low, high = (middle, high) if expected < further else (low, middle)
    return high


def _further_rows(variety: float, correct: int) -> float:
    """Rows beyond the first that are expected of so many right paths."""
    return variety * sum(1 / (variety + known) for known in range(1, correct))
