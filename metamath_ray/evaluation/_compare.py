"""Two evaluations of the same problems: the paired difference, and the items that flipped."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from metamath_ray.answers import RuleSet
from metamath_ray.evaluation._keys import GREEDY
from metamath_ray.evaluation._predictions import Prediction, Verdict
from metamath_ray.evaluation._statistics import Interval, mcnemar_exact, paired_difference_interval
from metamath_ray.evaluation._summary import load_all_predictions, write_json

COMPARISON = "comparison.json"


@dataclass(frozen=True, slots=True)
class Flip:
    """A problem that one of two models got right and the other did not."""

    problem_id: str
    verdict_a: Verdict
    verdict_b: Verdict


@dataclass(frozen=True, slots=True)
class PairedScores:
    """B against A under one rule set, on the problems that both have.

    `difference` is B's accuracy less A's, with its 95 % interval; `p_value` is McNemar's exact test's.
    """

    correct_a: int
    correct_b: int
    only_a: int
    only_b: int
    difference: float
    interval: Interval
    p_value: float
    num_other_verdicts: int
    flips: tuple[Flip, ...]


@dataclass(frozen=True, slots=True)
class BenchmarkComparison:
    """One benchmark of two evaluations; `n` problems are in both, by their greedy completions."""

    name: str
    n: int
    missing_in_a: int
    missing_in_b: int
    num_other_prompts: int
    num_other_completions: int
    fixed: PairedScores
    paper: PairedScores


def compare_evaluations(a: Path, b: Path) -> tuple[BenchmarkComparison, ...]:
    """B against A on each benchmark that both have, in order of names.

    Raises `ValueError` for a folder without a finished evaluation, and where they share no problem,
    or a problem of one id is another in each.
    """
    of_a, of_b = load_all_predictions(a), load_all_predictions(b)
    shared = [name for name in of_a if name in of_b]
    if not shared:
        raise ValueError(
            f"{a} and {b} share no benchmark: the first has {', '.join(of_a)}, the second {', '.join(of_b)}"
        )
    return tuple(compare_benchmark(name, of_a[name], of_b[name]) for name in shared)


def compare_benchmark(name: str, a: Sequence[Prediction], b: Sequence[Prediction]) -> BenchmarkComparison:
    """The greedy completions of B against those of A, paired by problem. Raises `ValueError` as above."""
    by_id_a, by_id_b = _greedy(a), _greedy(b)
    pairs = [(one, by_id_b[problem_id]) for problem_id, one in by_id_a.items() if problem_id in by_id_b]
    if not pairs:
        raise ValueError(f"benchmark {name}: the two evaluations share no problem")
    for one, other in pairs:
        if (one.question, one.expected) != (other.question, other.expected):
            raise ValueError(
                f"benchmark {name}: {one.problem_id} is not the same problem in both evaluations"
            )
    return BenchmarkComparison(
        name=name,
        n=len(pairs),
        missing_in_a=len(by_id_b) - len(pairs),
        missing_in_b=len(by_id_a) - len(pairs),
        num_other_prompts=sum(one.prompt != other.prompt for one, other in pairs),
        num_other_completions=sum(one.completion != other.completion for one, other in pairs),
        fixed=_compare_verdicts(pairs, "fixed"),
        paper=_compare_verdicts(pairs, "paper"),
    )


def write_comparison(comparisons: Sequence[BenchmarkComparison], *, a: Path, b: Path, output: Path) -> Path:
    """Write `comparison.json` into `output`, from which the page of a comparison is made; gives its path."""
    document = {
        "a": str(a),
        "b": str(b),
        "benchmarks": {comparison.name: _without_name(comparison) for comparison in comparisons},
    }
    return write_json(output / COMPARISON, document)


def _without_name(comparison: BenchmarkComparison) -> dict[str, object]:
    return {name: value for name, value in asdict(comparison).items() if name != "name"}


def _greedy(predictions: Sequence[Prediction]) -> dict[str, Prediction]:
    return {one.problem_id: one for one in predictions if one.sample_index == GREEDY}


def _compare_verdicts(pairs: Sequence[tuple[Prediction, Prediction]], rules: RuleSet) -> PairedScores:
    verdicts = [(one.problem_id, one.verdict(rules), other.verdict(rules)) for one, other in pairs]
    right = [(first == "correct", second == "correct") for _, first, second in verdicts]
    only_a, only_b = right.count((True, False)), right.count((False, True))
    both = right.count((True, True))
    return PairedScores(
        correct_a=both + only_a,
        correct_b=both + only_b,
        only_a=only_a,
        only_b=only_b,
        difference=(only_b - only_a) / len(pairs),
        interval=paired_difference_interval(only_a, only_b, len(pairs)),
        p_value=mcnemar_exact(only_a, only_b),
        num_other_verdicts=sum(first != second for _, first, second in verdicts),
        flips=tuple(
            Flip(problem_id, first, second)
            for problem_id, first, second in verdicts
            if (first == "correct") != (second == "correct")
        ),
    )
