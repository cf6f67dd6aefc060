import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from metamath_ray.problems import Problem, check_worked_arithmetic, load_bundled, load_problems

TRAIN = load_bundled("train")
TEST = load_bundled("test")
PUBLISHED = ["gsm8k_train", "gsm8k_test", "gsm8k_backward", "math_train", "math_test"]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def grams(problems: Iterable[Problem], size: int) -> dict[tuple[str, ...], str]:
    """Every run of `size` words in the questions, with the id of one problem that has it."""
    return {
        tuple(text[start : start + size]): problem.id
        for problem in problems
        for text in [words(problem.question)]
        for start in range(len(text) - size + 1)
    }


def test_the_bundled_set_has_240_train_and_100_test_problems() -> None:
    assert len(TRAIN) >= 240
    assert len(TEST) >= 100


@pytest.mark.parametrize("split", ["train", "test"])
def test_bundled_is_loaded_by_its_name(split: str) -> None:
    loaded = load_problems("bundled", split=split)
    assert loaded.problems == load_bundled(split)
    assert {(problem.source, problem.style) for problem in loaded.problems} == {("bundled", "gsm")}
    assert loaded.problems[0].id == f"bundled-{split}-0"


def test_bundled_arithmetic_is_exact() -> None:
    complaints = {problem.id: check_worked_arithmetic(problem.solution) for problem in TRAIN + TEST}
    assert {key: found for key, found in complaints.items() if found} == {}


def test_bundled_text_repeats_each_annotation_s_value() -> None:
    results = [
        (problem.id, value, text.replace(",", ""))
        for problem in TRAIN + TEST
        for value, text in re.findall(r"=([^=<>]*)>>(\S*)", problem.solution)
    ]
    assert [result for result in results if not result[2].startswith(result[1])] == []


def test_bundled_golds_are_plain_numbers() -> None:
    odd = [(p.id, p.answer) for p in TRAIN + TEST if not re.fullmatch(r"\d+(\.\d+)?", p.answer)]
    assert odd == []


def test_bundled_problems_take_two_to_eight_steps() -> None:
    num_steps = {problem.id: problem.solution.count("<<") for problem in TRAIN + TEST}
    assert {key: steps for key, steps in num_steps.items() if not 2 <= steps <= 8} == {}


def test_no_bundled_question_stands_twice() -> None:
    questions = [tuple(words(problem.question)) for problem in TRAIN + TEST]
    assert len(set(questions)) == len(questions)


def test_no_test_question_shares_eight_words_in_a_row_with_train() -> None:
    train, test = grams(TRAIN, 8), grams(TEST, 8)
    assert [(train[gram], test[gram], " ".join(gram)) for gram in train.keys() & test.keys()] == []


@pytest.mark.published
@pytest.mark.parametrize("file", PUBLISHED)
def test_no_bundled_question_shares_thirteen_words_with_published_ones(published: Path, file: str) -> None:
    ours = grams(TRAIN + TEST, 13)
    theirs = grams(load_problems(f"published:{published / file}.jsonl").problems, 13)
    assert [(ours[gram], theirs[gram], " ".join(gram)) for gram in ours.keys() & theirs.keys()] == []
