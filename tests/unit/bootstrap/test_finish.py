import pytest

from metamath_ray.bootstrap._finish import finish_response


@pytest.mark.parametrize(
    ("reply", "answer", "style", "finished"),
    [
        pytest.param("6 * 4 = 24.\n#### 24\nThe answer is: 24", "24", "gsm", "6 * 4 = 24.\n#### 24\nThe answer is: 24", id="whole"),
        pytest.param("6 * 4 = 24.\nThe answer is: 24", "24", "gsm", "6 * 4 = 24.\n#### 24\nThe answer is: 24", id="no-hashes"),
        pytest.param("6 * 4 = 24.\n#### 24\nThe answer is: $24.\nI hope this helps!", "24", "gsm", "6 * 4 = 24.\n#### 24\nThe answer is: 24", id="prose-behind"),
        pytest.param("So \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}", "math", "So \\boxed{\\frac{1}{2}}.\nThe answer is: \\frac{1}{2}", id="boxed"),
        pytest.param("#### 24\nThe answer is: 24", "24", "gsm", "", id="no-reasoning"),
        pytest.param("Total 18. The answer is: 18\n\nQuestion: next", "18", "gsm", "Total 18.\n#### 18\nThe answer is: 18", id="inline"),
        pytest.param("6 * 3.\n- **The answer is: 18**", "18", "gsm", "6 * 3.\n#### 18\nThe answer is: 18", id="list-item"),
        pytest.param("6 * 3.\n#### 18\nThe answer is: 18\n\nThe answer is: 18", "18", "gsm", "6 * 3.\n#### 18\nThe answer is: 18", id="twice"),
    ],
)  # fmt: skip
def test_a_response_ends_with_the_released_tail(reply: str, answer: str, style: str, finished: str) -> None:
    assert finish_response(reply, answer=answer, style=style) == finished  # type: ignore[arg-type]


def test_paper_mode_leaves_the_reply_as_it_is() -> None:
    reply = "24, I think.\nThe answer is: 24 pens"
    assert finish_response(reply, answer="24", style="gsm", compat="paper") == reply
