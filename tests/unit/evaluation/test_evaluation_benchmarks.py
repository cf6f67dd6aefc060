"""Benchmarks and prompts: which problems are asked, and in which words."""

import json
from collections import Counter
from pathlib import Path

import pytest

from metamath_ray.answers import grade
from metamath_ray.evaluation import PAPER_STOP, kind_of, load_benchmarks, load_prompt
from metamath_ray.problems import Problem, load_bundled

PROMPTS = Path(__file__).parents[3] / "metamath_ray" / "evaluation" / "prompts"


def published_specs(folder: Path) -> list[str]:
    files = {"gsm8k": "gsm8k_test", "math": "math_test", "gsm8k_backward": "gsm8k_backward"}
    return [f"{name}:{folder / file}.jsonl" for name, file in files.items()]


@pytest.mark.published
def test_the_published_benchmarks_are_whole(published):
    benchmarks = load_benchmarks(published_specs(published))
    assert [benchmark.num_all for benchmark in benchmarks] == [1319, 5000, 1270]
    styles = [{problem.style for problem in benchmark.problems} for benchmark in benchmarks]
    assert styles == [{"gsm"}, {"math"}, {"gsm"}]


@pytest.mark.published
def test_backward_problems_are_867_fobar_and_403_self_verification(published):
    forward, _, backward = load_benchmarks(published_specs(published))
    assert Counter(kind_of(problem.question) for problem in backward.problems) == {"FOBAR": 867, "SV": 403}
    assert {kind_of(problem.question) for problem in forward.problems} == {""}


@pytest.mark.published
def test_a_limit_spreads_over_the_subjects(published):
    (math,) = load_benchmarks([published_specs(published)[1]], limit=100)
    assert len(math.problems) == 100
    assert len({problem.subject for problem in math.problems}) == 7


def test_a_limit_can_take_the_first():
    (spread,) = load_benchmarks(["bundled"], limit=4)
    (first,) = load_benchmarks(["bundled"], limit=4, order="first")
    bundled = load_bundled("test")
    assert first.problems == bundled[:4]
    assert spread.problems == tuple(bundled[place] for place in (0, 27, 55, 82))
    assert load_benchmarks(["bundled"], limit=10_000)[0].problems == bundled


def test_a_bad_row_names_file_line_and_field(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"question": "1 + 1?", "answer": 2}) + "\n" + json.dumps({"question": "2?"}))
    with pytest.raises(ValueError, match=r"own.jsonl:2: field 'answer': missing"):
        load_benchmarks([f"own:{path}"])


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("He buys x books. If we know the answer to the above question is 3, what is the value of unknown variable x?", "FOBAR"),
        ("If we know the answer of the above question is 3, what is the value of unknown variable X?", "FOBAR"),
        ("He buys x books and pays $3. What is the value of unknown variable x?", "SV"),
        ("What is the value of x?", ""),
        ("What is the value of unknown variable x? Explain.", ""),
    ],
)  # fmt: skip
def test_a_backward_question_tells_how_it_was_made(question, kind):
    assert kind_of(question) == kind


def problem(style="gsm") -> Problem:
    return Problem("p", "s", style, "How many {crates} are 2 \\frac{1}{2}?", "3")


def test_the_metamath_prompt_is_the_papers():
    assert load_prompt("metamath")(problem()) == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the "
        "request.\n\n### Instruction:\nHow many {crates} are 2 \\frac{1}{2}?\n\n"
        "### Response: Let's think step by step."
    )


@pytest.mark.parametrize("style", ["gsm", "math"])
def test_the_few_shot_prompt_ends_where_the_model_goes_on(style):
    prompt = load_prompt("few-shot")(problem(style))
    assert prompt.endswith(
        "Question: How many {crates} are 2 \\frac{1}{2}?\nAnswer: Let's think step by step."
    )


@pytest.mark.parametrize("style", ["gsm", "math"])
def test_every_exemplar_ends_in_an_answer_that_both_rule_sets_find(style):
    blocks = (PROMPTS / f"{style}.txt").read_text(encoding="utf-8").strip().split("\n\n")
    assert 4 <= len(blocks) - 1 <= 8
    for block in blocks[:-1]:
        question, answer = block.split("\n")
        assert question.startswith("Question: ")
        assert not any(stop in answer for stop in PAPER_STOP)
        gold = answer.rpartition("The answer is: ")[2]
        assert {grade(answer, gold, source=style, rules=rules).verdict for rules in ("fixed", "paper")} == {
            "correct"
        }


def test_a_prompt_file_is_taken_as_it_is(tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text("Solve {this}: {question}\n=>\n")
    assert load_prompt(str(path))(problem()) == "Solve {this}: How many {crates} are 2 \\frac{1}{2}?\n=>"


@pytest.mark.parametrize(("text", "times"), [("Solve it.", 0), ("{question} {question}", 2)])
def test_a_prompt_file_must_hold_the_question_once(tmp_path, text, times):
    path = tmp_path / "prompt.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"it holds it {times} times"):
        load_prompt(str(path))


def test_a_missing_prompt_file_is_one_clear_line():
    with pytest.raises(
        ValueError, match=r"^prompt must be 'metamath', 'few-shot' or a readable file, got 'nix'"
    ):
        load_prompt("nix")
