import json

import pytest

from metamath_ray.bootstrap._augmentations import (
    clean_rephrasing,
    clean_statement,
    declarative_request,
    fobar_question,
    masks_for_self_verification,
    self_verification_question,
)
from metamath_ray.bootstrap._masking import find_masks

DOGS = "Tom has 5 dogs. Each eats 2 bones. How many bones do 3 days take?"


def test_fobar_asks_for_the_masked_number():
    mask = find_masks(DOGS, style="gsm")[0]
    assert fobar_question(DOGS, mask, "30") == (
        "Tom has x dogs. Each eats 2 bones. How many bones do 3 days take?\n"
        "If we know the answer to the above question is 30, what is the value of unknown variable x?"
    )


def test_fobar_names_the_variable_that_the_mask_put_in():
    question = "If $x+5=7$, find $x$."
    asked = fobar_question(question, find_masks(question, style="math")[0], "2")
    assert asked.startswith("If $x+X=7$, find $x$.\n")
    assert asked.endswith("unknown variable X?")


def test_self_verification_masks_lie_in_the_context():
    masks = masks_for_self_verification(DOGS, find_masks(DOGS, style="gsm"), style="gsm")
    assert [mask.value for mask in masks] == ["5", "2"]


def test_self_verification_puts_the_statement_in_the_last_sentences_place():
    mask = find_masks(DOGS, style="gsm")[1]
    question = self_verification_question(DOGS, mask, "3 days take 30 bones.", style="gsm")
    assert question == (
        "Tom has 5 dogs. Each eats x bones. 3 days take 30 bones. What is the value of unknown variable x?"
    )


def test_self_verification_keeps_a_figure_behind_the_last_sentence():
    question = "A square has side 5. What is its area?\n\n[asy] draw(a); [/asy]"
    mask = find_masks(question, style="math")[0]
    assert self_verification_question(question, mask, "The area is 25.", style="math") == (
        "A square has side x. The area is 25.\n[asy] draw(a); [/asy]\n"
        "What is the value of unknown variable x?"
    )


def test_self_verification_refuses_a_mask_of_the_last_sentence():
    mask = find_masks(DOGS, style="gsm")[2]
    with pytest.raises(ValueError, match="the mask must end in the context"):
        self_verification_question(DOGS, mask, "It takes 30.", style="gsm")


def test_the_paper_cuts_the_clause_inside_a_number():
    question = "Tom has 5 dogs. What are two at $3.50?"
    assert declarative_request(question, "7", style="gsm", compat="paper") == "Question: 50?\nAnswer: 7"
    mask = find_masks(question, style="gsm", compat="paper")[0]
    assert self_verification_question(question, mask, "It is 7.", style="gsm", compat="paper") == (
        "Tom has x dogs. What are two at $3. It is 7. What is the value of unknown variable x?"
    )


def test_the_request_holds_the_asking_sentence_and_the_answer():
    assert (
        declarative_request(DOGS, "30", style="gsm") == "Question: How many bones do 3 days take?\nAnswer: 30"
    )
    question = "Let $a=2$. What is $a$? Express your answer as a fraction.\n\n[asy] b [/asy]"
    assert declarative_request(question, "2", style="math") == "Question: What is $a$?\nAnswer: 2"


@pytest.mark.parametrize(
    ("reply", "answer", "statement"),
    [
        ("She has 5 dogs.", "5", "She has 5 dogs."),
        ("Statement: She has 5 dogs", "5", "She has 5 dogs."),
        ('**Declarative statement:** "She has 5 dogs."', "5", "She has 5 dogs."),
        ("She has five dogs.", "5", "She has five dogs."),
        ("It costs $1,200.", "1200", "It costs $1,200."),
        ("It costs $12.00.", "12", "It costs $12.00."),
        (r"The value is $\frac{3}{4}$.", r"\frac{3}{4}", r"The value is $\frac{3}{4}$."),
        (r"The value is $\frac{ 3}{4}.$", r"\frac{3}{4}", r"The value is $\frac{ 3}{4}.$"),
        ("Here is the statement:\nShe has 5 dogs.", "5", "She has 5 dogs."),
        ("", "5", None),
        ("Statement:", "5", None),
        ("How many dogs? 5", "5", None),
        ("She has 15 dogs.", "5", None),
        ("She has 5.5 dogs.", "5", None),
        ("She has 3 5-pound dogs.", "35", None),
        ("She has dogs.", "5", None),
        ("She has 5 dogs.\n\nThe end.", "5", None),
        ("I'm sorry, 5 is not clear.", "5", None),
        (r"So \boxed{5}.", "5", None),
    ],
)
def test_a_statement_is_one_that_holds_the_answer(reply, answer, statement):
    assert clean_statement(reply, answer=answer) == statement


@pytest.mark.parametrize(
    ("reply", "question"),
    [
        (
            "Each of 5 dogs eats 2 bones; how many in 3 days?",
            "Each of 5 dogs eats 2 bones; how many in 3 days?",
        ),
        ("Here is it:\nRephrased question: How many bones?", "How many bones?"),
        ("Rephrased question: How many bones?", "How many bones?"),
        ("**Rephrased Question:**\nHow many bones?", "How many bones?"),
        ("Here is a rephrased version of it:\n\nHow many bones?", "How many bones?"),
        ('"How many bones?"', "How many bones?"),
        ("Find the number of bones.", "Find the number of bones."),
        ("", None),
        ("Rephrased question:", None),
        ("Tom has 5 dogs, each eats 2 bones: how many bones do 3 days take?\nAnswer: 30", None),
        ("How many bones?\nThe answer is: 30", None),
        ("How many bones? Let's think step by step.", None),
        ("How many bones?\n#### 30", None),
        ("Tom has dogs and bones.", None),
        ("tom has 5 dogs; each eats 2 bones. How many bones do 3 days take", None),
        ("Question: How many bones?\nQuestion: How many dogs?", None),
        ("I cannot rephrase what you ask. What do you want?", None),
    ],
)
def test_a_rephrasing_is_one_new_question_without_its_answer(reply, question):
    assert clean_rephrasing(reply, original=DOGS) == question


@pytest.mark.published
def test_no_published_seed_is_taken_for_a_solved_one(published):
    for name, key in (("gsm8k_train", "question"), ("math_train", "problem")):
        rows = [json.loads(line) for line in (published / f"{name}.jsonl").open(encoding="utf-8")]
        kept = sum(clean_rephrasing(row[key], original="") is not None for row in rows)
        assert kept >= 0.98 * len(rows)


@pytest.mark.parametrize(
    "reply",
    [
        "12",
        "Answer: 12",
        "The answer is 12.",
        "So the answer is 12.",
        "How many apples are left is 12.",
        "It is -12.",
    ],
)
def test_an_echo_of_the_answer_is_no_statement(reply: str) -> None:
    assert clean_statement(reply, answer="12") is None


@pytest.mark.parametrize(
    "reply",
    ["Question: How many?", "I'm sorry.", "The answer is 7.\nAnd more.", "It is 8.", "Step 1: add."],
)
def test_the_paper_filters_no_reply_but_an_empty_one(reply):
    assert clean_statement(f" {reply}\n", answer="7", compat="paper") == reply
    assert clean_rephrasing(f" {reply}\n", original=reply, compat="paper") == reply
    assert clean_statement(reply, answer="7") is None
    assert clean_statement(" \n", answer="7", compat="paper") is None
    assert clean_rephrasing("", original=reply, compat="paper") is None
