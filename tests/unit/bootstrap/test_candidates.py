from typing import Any

import pytest

from metamath_ray.bootstrap._candidates import grade_candidate


def graded(response: str, expected: str, **changes: Any) -> tuple[str, str]:
    row = {"response": response, "expected": expected, "augmentation": "answer_augmentation"}
    row |= {"failure": "", "finish_reason": "stop"} | changes
    compat, style = row.pop("compat", "fixed"), row.pop("style", "gsm")
    done = grade_candidate(row, style=style, compat=compat)
    return done["verdict"], done["extracted"]


@pytest.mark.parametrize(
    ("response", "expected", "changes", "verdict"),
    [
        pytest.param("The answer is: 24", "24", {}, "correct", id="right"),
        pytest.param("6 * 4.\n**The answer is: 24**", "24", {}, "correct", id="bold"),
        pytest.param("The answer is: 1,234", "1234", {}, "correct", id="separators"),
        pytest.param("The answer is: 25", "24", {}, "incorrect", id="wrong"),
        pytest.param("I do not know.", "24", {}, "no_answer", id="none"),
        pytest.param("The answer is: 24", "24", {"finish_reason": "length"}, "truncated", id="cut-off"),
        pytest.param("", "24", {"failure": "empty"}, "failed", id="no-reply"),
        pytest.param("", "24", {"finish_reason": "content_filter"}, "failed", id="filtered"),
        pytest.param("The answer is: 0.75", "\\frac{3}{4}", {"style": "math"}, "correct", id="fraction"),
        pytest.param(
            "The answer is: 4", "\\frac{3}{4}", {"style": "math"}, "incorrect", id="not-as-a-number"
        ),
        pytest.param(
            "The answer is: 4",
            "\\frac{3}{4}",
            {"style": "math", "compat": "paper", "augmentation": "rephrasing"},
            "correct",
            id="as-the-paper-graded-it",
        ),
    ],
)
def test_each_reply_has_its_verdict(
    response: str, expected: str, changes: dict[str, Any], verdict: str
) -> None:
    assert graded(response, expected, **changes)[0] == verdict
