"""The lines that the evaluation job prints: what is done, what it came to, how two runs differ."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from metamath_ray.evaluation import EvaluationStatus, compare_benchmark, score_benchmark

from .conftest import make_prediction

sys.path.insert(0, str(Path(__file__).parents[3] / "jobs"))
from evaluate_metamath import comparison_line, progress_line, score_line

STATUS = EvaluationStatus(
    phase="asking", num_all=100, num_reused=20, answered=40, in_flight=8, retries=0, completion_tokens=4000,
    asking_s=20.0, graded=60, correct=15,
)  # fmt: skip


def test_progress_counts_what_was_saved_before_and_now():
    line = progress_line(STATUS, 30)
    assert line == "60/100 completions  25.0% right  2.0/s  200 tokens/s  about 20 s left  8 in flight"


@pytest.mark.parametrize(
    ("phase", "answered", "said"),
    [("starting", 0, "starting, 20/100 completions saved"), ("grading", 80, "grading, 100/100 completions saved")],
)  # fmt: skip
def test_progress_before_and_after_the_asking_counts_all_that_is_saved(phase, answered, said):
    assert progress_line(replace(STATUS, phase=phase, answered=answered), 9).startswith(said)


def test_a_score_has_its_interval_and_what_the_other_rules_say():
    scored = [
        make_prediction(str(number), verdict_fixed="correct", verdict_paper="incorrect")
        for number in range(4)
    ]
    line = score_line(score_benchmark("gsm8k", scored), "fixed")
    assert line.startswith("gsm8k: 4/4 correct, 100.0% (51.0% to 100.0%), 0 no answer, 0 truncated; ")
    assert line.endswith("fixed rules 100.0%, paper's 0.0%")


def test_a_comparison_says_what_differs_and_what_was_left_out():
    a = [make_prediction(str(number), verdict_fixed="correct") for number in range(4)]
    b = [replace(a[0], verdict_fixed="incorrect", completion="other"), replace(a[1], prompt="other"), a[2]]
    line = comparison_line(compare_benchmark("gsm8k", a, b), "fixed")
    assert line.startswith("gsm8k: 3 problems, 3 -> 2 correct (-33.3%")
    assert "; 1 completions differ (33.3%); 1 verdicts differ (33.3%); 1 flipped; " in line
    assert line.endswith("1 were asked in other words; 1 problems only in A, 0 only in B")
