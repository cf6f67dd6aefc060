"""The small study's problems, teacher and reading: what it teaches is right, and what it tests is new."""

import itertools
import json
import random
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "ablation"
sys.path.insert(0, str(FOLDER))

from stories import StoryProblem, draw_problems  # noqa: E402
from story_student import Reading, read_texts  # noqa: E402
from story_teacher import StoryTeacher, backward_questions  # noqa: E402
from study import FULL, draw_sets, write_problems  # noqa: E402

from metamath_ray.answers import grade  # noqa: E402
from metamath_ray.bootstrap import find_masks  # noqa: E402
from metamath_ray.bootstrap._augmentations import clean_rephrasing, clean_statement, declarative_request  # noqa: E402
from metamath_ray.bootstrap._prompts import Step, load_prompts  # noqa: E402
from metamath_ray.bootstrap._same_problem import keeps_the_problem  # noqa: E402
from metamath_ray.problems import check_worked_arithmetic, load_problems  # noqa: E402

TRAIN, TEST = draw_sets(FULL)


def ask(teacher: StoryTeacher, step: Step, text: str) -> str:
    messages = load_prompts().get("gsm", step).messages(text, shots=0)
    return teacher.reply(messages, random.Random(text))


@pytest.fixture(scope="module")
def teacher() -> StoryTeacher:
    return StoryTeacher(TRAIN, wrong_share=0.0)


def test_every_number_of_a_problem_and_no_other_can_be_masked() -> None:
    for problem in TRAIN + TEST:
        masked = sorted(int(mask.value) for mask in find_masks(problem.question(), style="gsm"))
        assert masked == sorted(problem.numbers.values()), problem.question()


def test_the_way_back_begins_with_the_equation_and_ends_at_the_masked_number() -> None:
    for problem in TRAIN + TEST:
        for slot, number in problem.numbers.items():
            first, *_, last = problem.way_back(slot)
            left, _, right = first.partition(" = ")
            assert eval(left, {"x": number}) == int(right) == problem.answer
            assert last.startswith("x = ")
            assert last.endswith(f" = {number}")


def test_solutions_are_right_and_tests_are_new(tmp_path: Path) -> None:
    write_problems(tmp_path, TRAIN, TEST)
    published = load_problems(f"stories:{tmp_path / 'train.jsonl'}").problems
    assert [problem.answer for problem in published] == [str(problem.answer) for problem in TRAIN]
    for problem in published:
        assert not check_worked_arithmetic(problem.solution)
    assert not {problem.key for problem in TRAIN} & {problem.key for problem in TEST}
    backward = [json.loads(line) for line in (tmp_path / "backward.jsonl").read_text().splitlines()]
    assert len(backward) == len(TEST)
    assert {row["id"].rpartition("-")[2] for row in backward} == {"fobar", "sv"}


def test_the_teacher_answers_every_request_of_a_build_rightly(teacher: StoryTeacher) -> None:
    for problem in TRAIN:
        question, answer = problem.question(), str(problem.answer)
        assert grade(ask(teacher, "solve", question), answer, source="gsm").verdict == "correct"
        rephrased = ask(teacher, "rephrase", question)
        assert clean_rephrasing(rephrased, original=question) == rephrased
        assert keeps_the_problem(question, rephrased, style="gsm")
        statement = ask(teacher, "declare", declarative_request(question, answer, style="gsm"))
        assert clean_statement(statement, answer=answer) == statement
        for kind, text, slot in backward_questions(problem):
            reply = ask(teacher, "solve_fobar" if kind == "fobar" else "solve_self_verification", text)
            assert grade(reply, str(problem.numbers[slot]), source="gsm").verdict == "correct"


def test_a_teacher_that_is_always_wrong_has_no_right_answer() -> None:
    wrong = StoryTeacher(TRAIN, wrong_share=1.0)
    for problem in TRAIN:
        reply = ask(wrong, "solve", problem.question())
        assert grade(reply, str(problem.answer), source="gsm").verdict == "incorrect"
        assert not keeps_the_problem(
            problem.question(), ask(wrong, "rephrase", problem.question()), style="gsm"
        )


def test_the_student_reads_no_story_of_the_test_set() -> None:
    unseen = frozenset(problem.key for problem in TEST)
    texts = "\n".join(itertools.islice(read_texts(Reading(), seed="study", unseen=unseen), 3000))
    assert not [problem for problem in TEST if problem.question() in texts]
    others = itertools.islice(draw_problems("study/0"), 600)
    assert any(problem.question() in texts for problem in others)  # it does read stories


def test_no_two_drawn_problems_are_alike() -> None:
    drawn = list(itertools.islice(draw_problems("any"), 700))
    assert len({problem.key for problem in drawn}) == len({problem.question() for problem in drawn}) == 700
    assert all(isinstance(problem, StoryProblem) for problem in drawn)
