"""The package's public functions as others call them."""

import pytest

from metamath_ray.answers import Comparison, clean_number_paper, equal, extract, find_boxed, grade

REPLY = "Natalia sold 48/2 = 24 clips in May.\n#### 72\nThe answer is: 72"


def test_a_released_reply_is_graded_correct_under_both_rules() -> None:
    for rules in ("fixed", "paper"):
        graded = grade(REPLY, "72", source="gsm", rules=rules)
        assert (graded.extracted, graded.verdict) == ("72", "correct")


@pytest.mark.parametrize(
    ("predicted", "gold", "verdict"),
    [("$1,234.00", "1234", "correct"), ("17.6", "18", "incorrect"), (None, "3", "no_answer")],
)
def test_fixed_numbers_are_exact(predicted: str | None, gold: str, verdict: str) -> None:
    assert equal(predicted, gold, source="gsm").verdict == verdict


def test_paper_rounds_and_takes_the_first_number() -> None:
    assert extract("The answer is: 17.6 or 20", "gsm", rules="paper") == "18"
    assert clean_number_paper(r"\frac{3}{4}") == "4"
    assert clean_number_paper("10-5") == "-5"


def test_paper_compares_normalised_latex() -> None:
    assert equal(r"\dfrac12", r"\frac{1}{2}", rules="paper") == Comparison("correct", "string")


def test_last_box_is_found_with_its_nesting() -> None:
    assert find_boxed(r"so \boxed{1} and $\boxed{\frac{1}{\sqrt{2}}}$.") == r"\frac{1}{\sqrt{2}}"
