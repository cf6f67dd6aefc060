"""Several samples a problem: pass@k, and the majority vote over classes of equal answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from metamath_ray.answers import RuleSet, equal
from metamath_ray.evaluation._predictions import Prediction, Verdict
from metamath_ray.evaluation._statistics import (
    Interval,
    counts_of_k,
    pass_at_k,
    wilson_interval,
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share of the problems and its 95 % interval over problems."""

    k: int
    share: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class SampleScores:
    """pass@k and maj@k for k = 1, 2, 4, … and all samples of a problem.

    pass@k is the unbiased estimate from all samples; maj@k is the vote of the first k.
    """

    num_problems: int
    samples_per_problem: int
    pass_at: tuple[Estimate, ...]
    maj_at: tuple[Estimate, ...]


def score_samples(drawn: Sequence[Prediction], rules: RuleSet) -> SampleScores:
    """The scores of the samples at a temperature, of which every problem has as many."""
    problems = _by_problem(drawn)
    sizes = {len(samples) for samples in problems.values()}
    assert len(sizes) == 1, f"problems have different numbers of samples: {sorted(sizes)}"
    num_samples = sizes.pop()
    corrects = [sum(one.verdict(rules) == "correct" for one in samples) for samples in problems.values()]
    ks = counts_of_k(num_samples)
    return SampleScores(
        num_problems=len(problems),
        samples_per_problem=num_samples,
        pass_at=tuple(_estimate_pass(num_samples, corrects, k) for k in ks),
        maj_at=tuple(_estimate_majority(list(problems.values()), rules, k) for k in ks),
    )


def vote(samples: Sequence[Prediction], rules: RuleSet) -> Verdict:
    """The verdict of the class of equal answers that most samples give; of classes of one size the first.

    A sample without an answer has no vote. Answers are equal as strings, as numbers, or by the paper's
    rules; the symbolic step is left out, so that the vote is a pure function of the texts.
    """
    classes: list[list[Prediction]] = []
    for sample in samples:
        answer = sample.extracted(rules)
        if answer is None:
            continue
        for members in classes:
            if _same(answer, members[0], rules):
                members.append(sample)
                break
        else:
            classes.append([sample])
    if not classes:
        return "no_answer"
    return max(classes, key=len)[0].verdict(rules)  # the first of the largest


def _same(answer: str, other: Prediction, rules: RuleSet) -> bool:
    known = other.extracted(rules)
    assert known is not None
    if answer == known:
        return True
    return equal(answer, known, source=other.style, rules=rules, symbolic=False).verdict == "correct"


def _by_problem(drawn: Sequence[Prediction]) -> dict[str, list[Prediction]]:
    problems: dict[str, list[Prediction]] = {}
    for prediction in drawn:
        problems.setdefault(prediction.problem_id, []).append(prediction)
    for samples in problems.values():
        samples.sort(key=lambda prediction: prediction.sample_index)
    return problems


def _estimate_pass(num_samples: int, corrects: Sequence[int], k: int) -> Estimate:
    chances = [pass_at_k(num_samples, correct, k) for correct in corrects]
    expected = min(math.fsum(chances), len(chances))
    return Estimate(k, expected / len(chances), wilson_interval(expected, len(chances)))


def _estimate_majority(problems: Sequence[Sequence[Prediction]], rules: RuleSet, k: int) -> Estimate:
    right = sum(vote(samples[:k], rules) == "correct" for samples in problems)
    return Estimate(k, right / len(problems), wilson_interval(right, len(problems)))
