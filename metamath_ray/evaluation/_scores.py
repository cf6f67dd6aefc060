"""Scores of a benchmark: accuracy with its interval, whole and by group, under both rule sets."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metamath_ray.answers import RuleSet
from metamath_ray.evaluation._keys import GREEDY
from metamath_ray.evaluation._predictions import Prediction
from metamath_ray.evaluation._samples import SampleScores, score_samples
from metamath_ray.evaluation._statistics import Interval, split_in_thirds, wilson_interval


@dataclass(frozen=True, slots=True)
class Score:
    """How many of `n` greedy completions are right, and why the others are not; the five counts add up to the rest.

    `accuracy` is None without a problem. `truncated` were cut before an answer; `unknown` could not be
    compared in time; `failed` were refused by the engine.
    """

    n: int
    correct: int
    accuracy: float | None
    interval: Interval
    incorrect: int
    no_answer: int
    truncated: int
    unknown: int
    failed: int


@dataclass(frozen=True, slots=True)
class Third:
    """A third of the problems by the length of the question, in characters."""

    shortest: int
    longest: int
    score: Score


@dataclass(frozen=True, slots=True)
class RuleScores:
    """The scores of a benchmark under one rule set; groups that no problem has are left out.

    `by_subject_and_level` counts by subject, then level. `by_third` runs from short to long questions.
    `decided_by` counts the step that settled the fixed verdicts; it is empty under the paper's rules.
    """

    total: Score
    by_subject: dict[str, Score]
    by_level: dict[str, Score]
    by_subject_and_level: dict[str, dict[str, Score]]
    by_kind: dict[str, Score]
    by_third: tuple[Third, ...]
    decided_by: dict[str, int]
    samples: SampleScores | None


@dataclass(frozen=True, slots=True)
class BenchmarkScores:
    """All scores of a benchmark.

    `reached_limit` completions were cut at the token limit, whether or not they had an answer by then.
    `only_fixed` and `only_paper` are correct under that rule set alone. Tokens count samples too.
    """

    name: str
    n: int
    num_samples: int
    fixed: RuleScores
    paper: RuleScores
    only_fixed: int
    only_paper: int
    reached_limit: int
    prompt_tokens: int
    completion_tokens: int

    def under(self, rules: RuleSet) -> RuleScores:
        """The scores under those rules."""
        return self.fixed if rules == "fixed" else self.paper


def score_benchmark(name: str, predictions: Sequence[Prediction]) -> BenchmarkScores:
    """The scores of graded predictions; those at a temperature count under `samples` only."""
    greedy = [prediction for prediction in predictions if prediction.sample_index == GREEDY]
    drawn = [prediction for prediction in predictions if prediction.sample_index != GREEDY]
    right = [(one.verdict_fixed == "correct", one.verdict_paper == "correct") for one in greedy]
    return BenchmarkScores(
        name=name,
        n=len(greedy),
        num_samples=max((prediction.sample_index for prediction in drawn), default=0),
        fixed=_score_rules(greedy, drawn, "fixed"),
        paper=_score_rules(greedy, drawn, "paper"),
        only_fixed=right.count((True, False)),
        only_paper=right.count((False, True)),
        reached_limit=sum(prediction.finish_reason == "length" for prediction in greedy),
        prompt_tokens=sum(prediction.prompt_tokens for prediction in predictions),
        completion_tokens=sum(prediction.completion_tokens for prediction in predictions),
    )


def score(predictions: Sequence[Prediction], rules: RuleSet) -> Score:
    """The counts and the accuracy of some predictions, with its 95 % Wilson interval."""
    counts = Counter(prediction.verdict(rules) for prediction in predictions)
    n, correct = len(predictions), counts["correct"]
    return Score(
        n=n,
        correct=correct,
        accuracy=correct / n if n else None,
        interval=wilson_interval(correct, n),
        incorrect=counts["incorrect"],
        no_answer=counts["no_answer"],
        truncated=counts["truncated"],
        unknown=counts["unknown"],
        failed=counts["failed"],
    )


def _score_rules(greedy: list[Prediction], drawn: list[Prediction], rules: RuleSet) -> RuleScores:
    by_subject = _grouped(greedy, lambda prediction: prediction.subject)
    return RuleScores(
        total=score(greedy, rules),
        by_subject={name: score(group, rules) for name, group in by_subject.items()},
        by_level=_scores_by(greedy, rules, lambda prediction: prediction.level),
        by_subject_and_level={
            name: _scores_by(group, rules, lambda prediction: prediction.level)
            for name, group in by_subject.items()
        },
        by_kind=_scores_by(greedy, rules, lambda prediction: prediction.kind),
        by_third=_score_thirds(greedy, rules),
        decided_by=_count_deciding_steps(greedy) if rules == "fixed" else {},
        samples=score_samples(drawn, rules) if drawn else None,
    )


def _scores_by(
    predictions: Sequence[Prediction], rules: RuleSet, group_of: Callable[[Prediction], str]
) -> dict[str, Score]:
    return {name: score(group, rules) for name, group in _grouped(predictions, group_of).items()}


def _grouped(
    predictions: Sequence[Prediction], group_of: Callable[[Prediction], str]
) -> dict[str, list[Prediction]]:
    groups: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        groups.setdefault(group_of(prediction), []).append(prediction)
    return {name: groups[name] for name in sorted(groups) if name}


def _score_thirds(greedy: Sequence[Prediction], rules: RuleSet) -> tuple[Third, ...]:
    """Equal thirds; questions of the same length keep the benchmark's order."""
    ordered = sorted(greedy, key=lambda prediction: prediction.question_chars)
    return tuple(
        Third(third[0].question_chars, third[-1].question_chars, score(third, rules))
        for third in split_in_thirds(ordered)
        if third
    )


def _count_deciding_steps(greedy: Sequence[Prediction]) -> dict[str, int]:
    counts = Counter(prediction.decided_by_fixed for prediction in greedy)
    return {step: counts[step] for step in sorted(counts)}
