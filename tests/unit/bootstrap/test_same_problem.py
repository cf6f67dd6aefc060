import pytest

from metamath_ray.bootstrap._same_problem import keeps_the_problem, same_numbers


@pytest.mark.parametrize(
    ("original", "rephrased", "same"),
    [
        pytest.param(
            "She buys 6 pens for $4 each.", "At $4 apiece, six pens are bought.", True, id="words-for-digits"
        ),
        pytest.param(
            "A pool holds 1,200 liters.", "The pool has room for 1200 liters.", True, id="separators"
        ),
        pytest.param("She buys 6 pens for $4 each.", "She buys pens for $4 each.", False, id="lost"),
        pytest.param("25% off $50.", "25% off $50, that is 12.50 less.", False, id="new"),
        pytest.param(
            "Two friends share 8 pies.", "8 pies are shared by both friends.", True, id="two-in-words"
        ),
        pytest.param(
            "2 friends share 8 pies.", "8 pies are shared by both friends.", False, id="two-in-digits"
        ),
        pytest.param("A rope of 3.50 m", "3.5 m of rope", True, id="trailing-zero"),
    ],
)
def test_a_rephrasing_has_the_numbers_of_its_seed(original: str, rephrased: str, same: bool) -> None:
    assert same_numbers(original, rephrased) is same


@pytest.mark.parametrize(
    ("original", "rephrased", "keeps"),
    [
        pytest.param("He has 3 pens. How many?", "How many pens has he, if he has 3?", True, id="asked"),
        pytest.param(
            "He has 3 pens. How many?",
            "To count the pens, we need to add all 3. How many?",
            False,
            id="explained",
        ),
        pytest.param(
            "He has 3 pens. How many?", "He has 3 pens. Let's calculate it step by step.", False, id="solved"
        ),
        pytest.param(
            "He has 3 pens. How many?",
            "We take the 3 pens to learn how many there are.",
            False,
            id="not-asked",
        ),
    ],
)
def test_a_rephrasing_asks_and_does_not_explain(original: str, rephrased: str, keeps: bool) -> None:
    assert keeps_the_problem(original, rephrased, style="gsm") is keeps


def test_a_math_problem_may_be_a_command() -> None:
    assert keeps_the_problem("What is $x$ if $2x = 6$?", "Find $x$ such that $2x = 6$.", style="math")
