"""The seed problems of a build: loaded, cut to size, each question once."""

from collections import Counter
from dataclasses import dataclass

from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.problems import Problem, load_problems


@dataclass(frozen=True)
class Seeds:
    """The seed problems of a build, and what loading them left out."""

    problems: tuple[Problem, ...]
    num_skipped: int
    num_duplicates: int

    def count_by_source(self) -> dict[str, int]:
        """How many seeds each source has given."""
        return dict(sorted(Counter(problem.source for problem in self.problems).items()))


def load_seeds(options: BuildOptions) -> Seeds:
    """The first `limit_seeds` problems of each source; of two with the same question the first stays."""
    problems: dict[str, Problem] = {}
    num_loaded = num_skipped = 0
    for spec in options.seeds:
        loaded = load_problems(spec, skip_bad_rows=options.skip_bad_rows)
        taken = loaded.problems[: options.limit_seeds]
        num_loaded += len(taken)
        num_skipped += loaded.num_skipped
        for problem in taken:
            problems.setdefault(" ".join(problem.question.split()), problem)
    ids = Counter(problem.id for problem in problems.values())
    if (twice := next((name for name, count in ids.items() if count > 1), None)) is not None:
        raise ValueError(
            f"two seeds have the id {twice!r}: name each source once, and give rows ids of their own"
        )
    return Seeds(tuple(problems.values()), num_skipped, num_loaded - len(problems))
