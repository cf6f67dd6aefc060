import json
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metamath_ray.bootstrap._clause import (
    split_clause_paper,
    split_last_sentence,
    split_sentences,
    strip_answer_format,
)


@pytest.mark.parametrize(
    ("question", "last"),
    [
        ("Tom has 5 dogs. How many legs?", "How many legs?"),
        ("A pen costs $3.50. How much are 2.5 dozen?", "How much are 2.5 dozen?"),
        ("He sees Mr. Smith and Dr. Jones. How old is Mrs. Li?", "How old is Mrs. Li?"),
        ("A rope of 5 ft. 3 in. lies there. How long is it?", "How long is it?"),
        ("A rope is 12 ft. How long are two?", "How long are two?"),
        ("He works until 5 p.m. How long is that?", "How long is that?"),
        ("He works from 9 a.m. to 5 p.m. every day. How long?", "How long?"),
        ("She reads J. K. Rowling in the U.S. Army. How long?", "How long?"),
        ("He bought pens, etc. and left. How many pens vs. pencils?", "How many pens vs. pencils?"),
        ('"Wow!" said Ann. How many?', "How many?"),
        ("The room is 100 m2. what is its length?", "what is its length?"),
        ("He goes home.How far?", "How far?"),
        ("How much is it? Round to the nearest dollar.", "How much is it? Round to the nearest dollar."),
        ("It rains. How much? Assume it never stops.", "How much? Assume it never stops."),
        ("He runs.  Calculate the distance.", "Calculate the distance."),
        ("He runs, then he walks, how far?", "He runs, then he walks, how far?"),
        ("He runs. He walks.", "He walks."),
        ("He runs\n\nHow far?", "How far?"),
        ("", ""),
    ],
)
def test_the_last_sentence_of_plain_text(question, last):
    assert split_last_sentence(question, style="gsm")[1] == last


@pytest.mark.parametrize(
    ("question", "last"),
    [
        ("Let $x=2.5$. Find $x^2$.", "Find $x^2$."),
        ("Let $x=5.$ Find $y.$", "Find $y.$"),
        (r"Let \[x=5.\]Find $y.$", "Find $y.$"),
        (r"Let \[x=5\] and $y=1$. Find $y$.", "Find $y$."),
        ("Let $f(x)=2. 5$ be odd. What is $x$?", "What is $x$?"),
        (
            "Let $a=2$. What is $a$? Express your answer as a common fraction.",
            "What is $a$? Express your answer as a common fraction.",
        ),
        ("Let $a=2$. Find $a$.\n\nEnter your answer in order.", "Find $a$.\n\nEnter your answer in order."),
        ("See it. [asy] a. b? [/asy] What is $a$?", "What is $a$?"),
        ("See it. What is $a$?\n\n[asy] a. b? [/asy]", "What is $a$?\n\n[asy] a. b? [/asy]"),
        (r"A pen is \$3.50. How much are two?", "How much are two?"),
        ("Let $a=2$. If $b=3$, what is $a+b$?", "If $b=3$, what is $a+b$?"),
        ("Is $a$ odd?", "Is $a$ odd?"),
    ],
)
def test_the_last_sentence_of_latex(question, last):
    assert split_last_sentence(question, style="math")[1] == last


@pytest.mark.parametrize(
    ("tail", "asked"),
    [
        ("What is $a$? Express your answer as a fraction.", "What is $a$?"),
        ("What is $a$?\n\n[asy] draw(a); [/asy]", "What is $a$?"),
        ("Find $a$. Enter your answer in order.", "Find $a$."),
        ("Enter all values of $a$.", "Enter all values of $a$."),
        ("How much is it? The dog pays half.", "How much is it? The dog pays half."),
    ],
)
def test_instructions_on_the_form_leave_the_asking_sentence(tail, asked):
    assert strip_answer_format(tail, style="math") == asked


@pytest.mark.parametrize(
    ("question", "clause"),
    [
        ("Tom runs. How far?", " How far?"),
        ("If he runs, how far?", " how far?"),
        ("Find it.", ""),
        ("What are two at $3.50?", "50?"),
        ("How far?", "How far?"),
    ],
)
def test_the_paper_cuts_at_the_last_point_or_comma(question, clause):
    context, last = split_clause_paper(question)
    assert (context + last, last) == (question, clause)


@settings(max_examples=300, deadline=None)
@given(
    question=st.one_of(st.text(), st.text(alphabet="aA5.?! ,$\\[]\n{}")),
    style=st.sampled_from(["gsm", "math"]),
)
def test_the_two_parts_of_any_text_join_to_it(question, style):
    assert "".join(split_last_sentence(question, style=style)) == question
    spans = split_sentences(question, style=style)
    assert all(start < end for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.published
@pytest.mark.parametrize(
    ("name", "style", "share_with_context"), [("gsm8k_train", "gsm", 0.98), ("math_train", "math", 0.5)]
)
def test_every_published_seed_splits_without_damage(published, name, style, share_with_context):
    rows = [json.loads(line) for line in (published / f"{name}.jsonl").open(encoding="utf-8")]
    with_context = 0
    for row in rows:
        question = row.get("question") or row["problem"]
        context, last = split_last_sentence(question, style=style)
        assert context + last == question
        assert last.strip()
        if style == "math":
            assert len(re.findall(r"(?<!\\)\$", context)) % 2 == 0
        with_context += bool(context)
    print(f"\n{style}: {with_context} of {len(rows)} seeds with a context")
    assert with_context >= share_with_context * len(rows)
