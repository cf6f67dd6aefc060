"""Scores: counts add up, groups and thirds cover all, votes count equal answers as one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamath_ray.evaluation import grade_predictions, score, score_benchmark, score_samples, vote

from .conftest import make_prediction

VERDICTS = ["correct", "incorrect", "no_answer", "truncated", "unknown", "failed"]


@given(st.lists(st.sampled_from(VERDICTS), max_size=60))
def test_the_counts_of_verdicts_add_up(verdicts):
    made = score([make_prediction(verdict_fixed=one) for one in verdicts], "fixed")
    assert made.n == len(verdicts)
    assert sum(getattr(made, verdict) for verdict in VERDICTS) == made.n
    assert made.accuracy == (verdicts.count("correct") / len(verdicts) if verdicts else None)


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=50))
def test_thirds_of_question_length_cover_every_problem_once(rows):
    predictions = [
        make_prediction(str(number), question_chars=length, verdict_fixed="correct" if right else "incorrect")
        for number, (length, right) in enumerate(rows)
    ]
    thirds = score_benchmark("b", predictions).fixed.by_third
    assert sum(third.score.n for third in thirds) == len(rows)
    assert sum(third.score.correct for third in thirds) == sum(right for _, right in rows)
    bounds = [bound for third in thirds for bound in (third.shortest, third.longest)]
    assert bounds == sorted(bounds)


@pytest.mark.parametrize(
    ("text", "finish_reason", "fixed", "paper"),
    [
        pytest.param("The answer is: 0", "stop", "correct", "correct", id="right"),
        pytest.param("The answer is: 1", "stop", "incorrect", "incorrect", id="wrong"),
        pytest.param("The answer is: 0.2", "stop", "incorrect", "correct", id="the paper rounds"),
        pytest.param(r"so it is \boxed{0}", "stop", "correct", "no_answer", id="box"),
        pytest.param("and so on", "stop", "no_answer", "no_answer", id="no answer"),
        pytest.param("and so on", "length", "truncated", "truncated", id="cut before an answer"),
        pytest.param("The answer is: 0\nand", "length", "correct", "correct", id="cut after the answer"),
        pytest.param("The answer is: 0", "failed", "failed", "failed", id="refused by the engine"),
    ],
)
def test_verdicts_under_both_rule_sets(text, finish_reason, fixed, paper):
    made = make_prediction(completion=text, finish_reason=finish_reason, expected="0")
    (graded,) = grade_predictions([made])
    assert (graded.verdict_fixed, graded.verdict_paper) == (fixed, paper)


def test_the_two_rule_sets_are_set_against_each_other():
    pairs = [
        ("correct", "correct"),
        ("correct", "incorrect"),
        ("no_answer", "correct"),
        ("correct", "no_answer"),
    ]
    predictions = [
        make_prediction(str(n), verdict_fixed=f, verdict_paper=p) for n, (f, p) in enumerate(pairs)
    ]
    scores = score_benchmark("b", predictions)
    assert (scores.fixed.total.correct, scores.paper.total.correct) == (3, 2)
    assert (scores.only_fixed, scores.only_paper) == (2, 1)


def test_groups_are_by_subject_level_and_kind_and_leave_out_what_has_none():
    predictions = [
        make_prediction("a", subject="Algebra", level="Level 2", verdict_fixed="correct"),
        make_prediction("b", subject="Algebra", level="Level 1"),
        make_prediction("c", subject="Geometry", level="Level 1"),
        make_prediction("d", kind="SV"),
    ]
    fixed = score_benchmark("b", predictions).fixed
    assert {name: one.n for name, one in fixed.by_subject.items()} == {"Algebra": 2, "Geometry": 1}
    assert list(fixed.by_level) == ["Level 1", "Level 2"]
    assert fixed.by_subject_and_level["Algebra"]["Level 2"].accuracy == 1.0
    assert "Level 2" not in fixed.by_subject_and_level["Geometry"]
    assert list(fixed.by_kind) == ["SV"]


def test_samples_count_apart_from_the_greedy_completion():
    greedy = [make_prediction(name, verdict_fixed="correct") for name in "ab"]
    drawn = [
        make_prediction(name, sample_index=k, verdict_fixed="incorrect") for name in "ab" for k in (1, 2)
    ]
    scores = score_benchmark("b", greedy + drawn)
    assert (scores.n, scores.num_samples, scores.fixed.total.accuracy) == (2, 2, 1.0)
    assert scores.fixed.samples is not None
    assert [one.share for one in scores.fixed.samples.pass_at] == [0.0, 0.0]


def answers(*texts: str | None, right: str = "", style: str = "gsm"):
    return [
        make_prediction(
            sample_index=number,
            style=style,
            extracted_fixed=text,
            verdict_fixed="no_answer" if text is None else "correct" if text == right else "incorrect",
        )
        for number, text in enumerate(texts, start=1)
    ]


@pytest.mark.parametrize(
    ("samples", "verdict"),
    [
        pytest.param(answers("7", "5", "5", right="5"), "correct", id="most"),
        pytest.param(answers("5", "7", right="5"), "correct", id="a tie goes to the first"),
        pytest.param(answers("7", "5", right="5"), "incorrect", id="a tie goes to the first, wrong"),
        pytest.param(answers("7", "0.5", "1/2", right="0.5"), "correct", id="equal in another spelling"),
        pytest.param(answers(None, None, "5", right="5"), "correct", id="no answer has no vote"),
        pytest.param(answers(None, None), "no_answer", id="nobody votes"),
        pytest.param(answers("1,000", "7", "1000", right="1,000"), "correct", id="thousands separators"),
    ],
)
def test_the_vote_is_over_classes_of_equal_answers(samples, verdict):
    assert vote(samples, "fixed") == verdict


def test_maj_at_k_votes_with_the_first_k():
    shares = score_samples(answers("7", "5", "5", "5", right="5"), "fixed")
    assert [(one.k, one.share) for one in shares.maj_at] == [(1, 0.0), (2, 0.0), (4, 1.0)]
    assert [one.share for one in shares.pass_at] == pytest.approx([0.75, 1.0, 1.0])


def test_problems_with_different_numbers_of_samples_are_our_own_mistake():
    drawn = [make_prediction("a", sample_index=1), make_prediction("a", sample_index=2), make_prediction("b", sample_index=1)]  # fmt: skip
    with pytest.raises(AssertionError, match="different numbers"):
        score_samples(drawn, "fixed")
