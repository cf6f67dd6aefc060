import re
from pathlib import Path

import pytest

from metamath_ray.problems import Problem, load_problems

pytestmark = pytest.mark.published

FILES = [
    pytest.param("gsm8k", "train", "gsm8k_train.jsonl", 7_473, id="gsm8k-train"),
    pytest.param("gsm8k", "test", "gsm8k_test.jsonl", 1_319, id="gsm8k-test"),
    pytest.param("math", "train", "math_train.jsonl", 7_500, id="math-train"),
    pytest.param("math", "test", "math_test.jsonl", 5_000, id="math-test"),
    pytest.param("gsm8k_backward", "test", "gsm8k_backward.jsonl", 1_270, id="gsm8k-backward"),
]


@pytest.mark.parametrize(("name", "split", "file", "num_rows"), FILES)
def test_a_published_file_loads_whole(
    published: Path, name: str, split: str, file: str, num_rows: int
) -> None:
    loaded = load_problems(f"{name}:{published / file}", split=split)
    assert (len(loaded.problems), loaded.num_skipped, loaded.errors) == (num_rows, 0, ())
    assert len({problem.id for problem in loaded.problems}) == num_rows
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]+", problem.id) for problem in loaded.problems)
    assert all(problem.question.strip() and problem.answer.strip() for problem in loaded.problems)
    assert {problem.style for problem in loaded.problems} == {"math" if name == "math" else "gsm"}
    assert {problem.source for problem in loaded.problems} == {name}


@pytest.mark.parametrize("split", ["train", "test"])
def test_gsm8k_golds_are_integers(published: Path, split: str) -> None:
    problems = load_problems(f"gsm8k:{published / f'gsm8k_{split}.jsonl'}").problems
    assert [problem.answer for problem in problems if not re.fullmatch(r"-?\d+", problem.answer)] == []


@pytest.mark.parametrize("split", ["train", "test"])
def test_math_golds_have_balanced_braces_and_no_dollars(published: Path, split: str) -> None:
    problems = load_problems(f"math:{published / f'math_{split}.jsonl'}").problems
    bare = [re.sub(r"\\.", "", problem.answer) for problem in problems]
    assert [gold for gold in bare if gold.count("{") != gold.count("}")] == []
    assert [gold for gold in bare if "boxed" in gold] == []


def test_the_two_math_problems_published_with_an_empty_box_get_their_gold(published: Path) -> None:
    problems = load_problems(f"math:{published / 'math_train.jsonl'}").problems
    mended: list[Problem] = [problem for problem in problems if r"\boxed{}" in problem.solution]
    assert [(problem.id, problem.answer) for problem in mended] == [
        ("train/number_theory/7115", "0"),
        ("train/number_theory/7117", "0"),
    ]
