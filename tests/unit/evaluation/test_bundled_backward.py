"""The backward twin of the bundled test set: what its script makes, and every answer the number that was masked."""

import json
import re
from collections import Counter

import pytest

from metamath_ray.evaluation import kind_of, load_benchmarks, score_benchmark
from metamath_ray.problems import load_bundled
from tests.benchmarks.evaluation.make_bundled_backward import OUTPUT, STATEMENTS, backward_rows, encode

from .conftest import make_prediction

ROWS = [json.loads(line) for line in OUTPUT.read_text(encoding="utf-8").splitlines()]
(BENCHMARK,) = load_benchmarks(["bundled_backward"])


def test_the_file_is_what_its_script_makes():
    assert OUTPUT.read_text(encoding="utf-8") == encode(backward_rows())


def test_there_are_both_kinds_and_enough_of_each():
    kinds = Counter(kind_of(problem.question) for problem in BENCHMARK.problems)
    assert set(kinds) == {"FOBAR", "SV"}
    assert min(kinds.values()) >= 80


def test_problems_are_named_after_those_that_they_come_from():
    forward = {problem.id: problem for problem in load_bundled("test")}
    for row, problem in zip(ROWS, BENCHMARK.problems, strict=True):
        origin, _, kind = problem.id.rpartition("-")
        assert kind == {"FOBAR": "fobar", "SV": "sv"}[kind_of(problem.question)]
        assert forward[origin].question == row["original_question"]
        assert (problem.source, problem.style) == ("bundled_backward", "gsm")


NUMBERS = {
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "two": "2",
    "three": "3",
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_the_answer_is_the_number_that_x_stands_for(row):
    before = re.split(r"(?<![A-Za-z])x(?![A-Za-z])", row["question"], maxsplit=1)[0]
    after = row["question"][len(before) + 1 :].split("\nIf we know")[0]
    assert row["original_question"].startswith(before)
    hidden = row["original_question"][len(before) :]
    if row["id"].endswith("fobar"):
        assert hidden.endswith(after)
        number = hidden.removesuffix(after)
    else:
        number = re.match(r"\$?[\w,./]+%?", hidden).group()
    assert NUMBERS.get(number.lower(), re.sub(r"[$,%]|\.$", "", number)) == row["answer"]


def test_a_self_verification_question_tells_the_answer_of_the_original():
    statements = STATEMENTS.read_text(encoding="utf-8").splitlines()
    for row in ROWS:
        if row["id"].endswith("sv"):
            statement = statements[int(row["id"].split("-")[2])]
            assert f" {statement} What is the value of unknown variable x?" in row["question"]
            assert re.search(rf"\b{row['original_answer']}\b", statement.replace(",", ""))


def test_scores_are_by_kind_as_those_of_gsm8k_backward():
    predictions = [make_prediction(one.id, kind=kind_of(one.question)) for one in BENCHMARK.problems]
    assert set(score_benchmark("bundled_backward", predictions).fixed.by_kind) == {"FOBAR", "SV"}
