import pytest

from metamath_ray.bootstrap._finish import finish_response


@pytest.mark.parametrize(
    ("reply", "extracted", "style", "finished"),
    [
        pytest.param("6 * 4 = 24.\n#### 24\nThe answer is: 24", "24", "gsm", "6 * 4 = 24.\n#### 24\nThe answer is: 24", id="whole"),
        pytest.param("6 * 4 = 24.\nThe answer is: 24", "24", "gsm", "6 * 4 = 24.\n#### 24\nThe answer is: 24", id="no-hashes"),
        pytest.param("6 * 4 = 24.\n#### 24\nThe answer is: $24.\nI hope this helps!", "24", "gsm", "6 * 4 = 24.\n#### 24\nThe answer is: 24", id="prose-behind"),
        pytest.param("So \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}", "math", "So \\boxed{\\frac{1}{2}}.\nThe answer is: \\frac{1}{2}", id="boxed"),
        pytest.param("#### 24\nThe answer is: 24", "24", "gsm", "#### 24\nThe answer is: 24", id="tail-alone"),
    ],
)  # fmt: skip
def test_a_response_ends_with_the_released_tail(
    reply: str, extracted: str, style: str, finished: str
) -> None:
    assert finish_response(reply, extracted=extracted, style=style) == finished  # type: ignore[arg-type]


def test_paper_mode_leaves_the_reply_as_it_is() -> None:
    reply = "24, I think.\nThe answer is: 24 pens"
    assert finish_response(reply, extracted="24", style="gsm", compat="paper") == reply
