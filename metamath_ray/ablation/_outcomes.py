"""What a finished trial leaves behind: verdicts by problem, and what its mix held."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """One trial (a mix trained with one seed) on one benchmark: a verdict for each problem, in the same order."""

    mix: str
    seed: int
    benchmark: str
    problem_ids: tuple[str, ...]
    correct: tuple[bool, ...]

    def __post_init__(self) -> None:
        assert len(self.problem_ids) == len(self.correct), (len(self.problem_ids), len(self.correct))

    @property
    def accuracy(self) -> float:
        """Share of the problems that were answered correctly; 0 without problems."""
        return sum(self.correct) / max(len(self.correct), 1)


@dataclass(frozen=True, slots=True)
class MixInfo:
    """What a mix's training sets hold: rows and tokens (the mean over its seeds, rounded), and rows by type."""

    name: str
    rows: int
    tokens: int
    by_type: dict[str, int]
