"""Verdicts under both rule sets, given to new predictions and to saved ones again, without a model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from metamath_ray.answers import AnswerVerdict, Graded, RuleSet, SymbolicPool, grade_many
from metamath_ray.evaluation._journal import FAILED
from metamath_ray.evaluation._predictions import (
    Prediction,
    Verdict,
    load_all_predictions,
    predictions_path,
    write_predictions,
)
from metamath_ray.problems import Style

RULE_SETS: tuple[RuleSet, ...] = ("fixed", "paper")

VerdictCounts = dict[Verdict, int]


@dataclass(frozen=True, slots=True)
class Regraded:
    """One benchmark scored again: its predictions, and how often each verdict occurred before and now."""

    predictions: tuple[Prediction, ...]
    before: dict[RuleSet, VerdictCounts]
    after: dict[RuleSet, VerdictCounts]
    num_changed: dict[RuleSet, int]


def grade_predictions(
    predictions: Sequence[Prediction], *, pool: SymbolicPool | None = None
) -> tuple[Prediction, ...]:
    """The same predictions with answers and verdicts under both rule sets; what they had is not looked at.

    Answers that no string and no number settles block for the pool's time limit at most.
    """
    graded = list(predictions)
    styles: tuple[Style, ...] = ("gsm", "math")
    for style in styles:
        places = [place for place, prediction in enumerate(predictions) if prediction.style == style]
        pairs = [(predictions[place].completion, predictions[place].expected) for place in places]
        fixed = grade_many(pairs, source=style, rules="fixed", pool=pool)
        paper = grade_many(pairs, source=style, rules="paper")
        for place, one, other in zip(places, fixed, paper, strict=True):
            graded[place] = _with_verdicts(predictions[place], one, other)
    return tuple(graded)


def regrade(output: Path, *, pool: SymbolicPool | None = None) -> dict[str, Regraded]:
    """Score the saved predictions of every benchmark again, write those tables that change, tell what changed.

    Raises `BadPredictionsError` where there are none.
    """
    return {
        name: _regrade_one(predictions_path(output, name), saved, pool)
        for name, saved in load_all_predictions(output).items()
    }


def count_verdicts(predictions: Sequence[Prediction], rules: RuleSet) -> VerdictCounts:
    """How often each verdict occurs, in order of their names; those that don't occur are left out."""
    counts = Counter(prediction.verdict(rules) for prediction in predictions)
    return {verdict: counts[verdict] for verdict in sorted(counts)}


def _regrade_one(path: Path, saved: tuple[Prediction, ...], pool: SymbolicPool | None) -> Regraded:
    now = grade_predictions(saved, pool=pool)
    if now != saved:
        write_predictions(path, now, num_expected=len(saved))
    changed = {
        rules: sum(old.verdict(rules) != new.verdict(rules) for old, new in zip(saved, now, strict=True))
        for rules in RULE_SETS
    }
    before = {rules: count_verdicts(saved, rules) for rules in RULE_SETS}
    return Regraded(now, before, {rules: count_verdicts(now, rules) for rules in RULE_SETS}, changed)


def _with_verdicts(prediction: Prediction, fixed: Graded, paper: Graded) -> Prediction:
    return replace(
        prediction,
        extracted_fixed=fixed.extracted,
        verdict_fixed=_verdict(fixed.verdict, prediction.finish_reason),
        decided_by_fixed=fixed.decided_by,
        extracted_paper=paper.extracted,
        verdict_paper=_verdict(paper.verdict, prediction.finish_reason),
    )


def _verdict(verdict: AnswerVerdict, finish_reason: str) -> Verdict:
    """An answer that stands before the cut counts; where none does, the cut is the reason."""
    if finish_reason == FAILED:
        return "failed"
    return "truncated" if verdict == "no_answer" and finish_reason == "length" else verdict
