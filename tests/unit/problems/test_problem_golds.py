import pytest

from metamath_ray.problems import extract_gold_gsm8k, extract_gold_math


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        pytest.param("1+1=2\n#### 2", "2", id="plain"),
        pytest.param("#### 109,200,000", "109200000", id="thousands-separators"),
        pytest.param("#### 1,2", "1,2", id="comma-that-separates-no-thousands"),
        pytest.param("#### -3 \n", "-3", id="negative-with-blanks"),
        pytest.param("#### 1\n#### 2", "2", id="last-mark-counts"),
        pytest.param("#### 2\nthanks", "2", id="line-after-gold"),
        pytest.param("#### ", "", id="nothing-after-mark"),
        pytest.param("It is 2", None, id="no-mark"),
        pytest.param("####2", None, id="mark-without-blank"),
    ],
)
def test_gsm8k_gold_follows_the_last_mark(answer: str, gold: str | None) -> None:
    assert extract_gold_gsm8k(answer) == gold


@pytest.mark.parametrize(
    ("solution", "gold"),
    [
        pytest.param(r"So $\boxed{42}$.", "42", id="plain"),
        pytest.param(r"$\boxed{1}$ then $\boxed{2}$", "2", id="last-box-counts"),
        pytest.param(r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", id="nested-braces"),
        pytest.param(r"\boxed{\{1,2\}}", r"\{1,2\}", id="escaped-braces"),
        pytest.param(r"\boxed{\left\{ x \right.}", r"\left\{ x \right.", id="escaped-brace-alone"),
        pytest.param(r"\boxed{a \\{b}}", r"a \\{b}", id="line-break-before-brace"),
        pytest.param(r"\boxed {7}", "7", id="blank-before-brace"),
        pytest.param(r"\fbox{7}", "7", id="fbox"),
        pytest.param(r"$\boxed 2$.", "2", id="no-braces-in-dollars"),
        pytest.param("it is \\boxed 2.\nDone", "2", id="no-braces-to-line-end"),
        pytest.param(r"$\boxed\frac12$", r"\frac12", id="command-without-braces"),
        pytest.param(r"\boxed{}", "", id="empty-box"),
        pytest.param(r"\boxed{\frac{1}{2}", None, id="braces-do-not-close"),
        pytest.param(r"\boxedx{3}", None, id="another-command"),
        pytest.param("It is 2", None, id="no-box"),
    ],
)
def test_math_gold_is_inside_the_last_box(solution: str, gold: str | None) -> None:
    assert extract_gold_math(solution) == gold
