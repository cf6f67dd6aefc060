import pytest

from metamath_ray.student_prompt import EVALUATION_SUFFIX, render_evaluation_prompt, render_student_prompt
from metamath_ray.training._template import render_prompt, template_identity

FOBAR = "Tom has x apples.\nIf we know the answer to the above question is 15, what is the value of unknown variable x?"


def test_the_prompt_is_the_papers():
    assert render_student_prompt("1 + 1?") == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\n1 + 1?\n\n### Response:"
    )


@pytest.mark.parametrize(
    "query", ["1 + 1?", FOBAR, "braces {x} {0} {", ""], ids=["plain", "two lines", "braces", "empty"]
)
def test_training_and_evaluation_prompt_differ_by_the_suffix_only(query):
    assert render_evaluation_prompt(query) == render_prompt(query) + EVALUATION_SUFFIX
    assert query in render_prompt(query)


def test_paper_mode_trains_a_query_of_two_lines_on_another_prompt():
    prompt = render_prompt(FOBAR, compat="paper")
    instruction, question = FOBAR.split("\n")
    assert f"### Instruction:\n{instruction}\n\n### Input:\n{question}\n\n### Response:" in prompt


@pytest.mark.parametrize("query", ["1 + 1?", "1 + 1?\n"], ids=["one line", "a newline at the end"])
def test_paper_mode_trains_a_query_of_one_line_on_the_same_prompt(query):
    assert render_prompt(query, compat="paper") == render_student_prompt("1 + 1?")


def test_only_the_first_newline_splits():
    assert "### Instruction:\na\n\n### Input:\nb\nc\n\n### Response:" in render_prompt(
        "a\nb\nc", compat="paper"
    )


def test_each_template_has_an_identity_of_its_own(monkeypatch):
    before = template_identity("fixed")
    assert before != template_identity("paper")
    monkeypatch.setattr("metamath_ray.training._template.STUDENT_PROMPT", "other {instruction}")
    assert template_identity("fixed") != before
