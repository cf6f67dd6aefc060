from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pytest

from metamath_ray.bootstrap._candidates import CANDIDATE_SCHEMA, grade_candidate
from metamath_ray.bootstrap._compat_difference import compare_rules, compare_seeds, compare_verdicts
from metamath_ray.bootstrap._mask import Compat
from metamath_ray.bootstrap._selection_records import SelectionCandidate
from metamath_ray.problems import Problem

REPLIES = {
    "right": "6 * 4 = 24.\nThe answer is: 24",
    "rounded": "The answer is: 23.6",  # 24 to the paper, which rounds
    "last-number": "The answer is: 7\nThat is 24 in all.",  # the paper takes the last number of all
    "explained": "The answer is: 24\nChecked in 2 ways.",  # and so misses this one
    "wrong": "The answer is: 7",
    "none": "I do not know.",
}


def candidate(reply: str, compat: Compat, **changes: Any) -> dict[str, Any]:
    row = dict.fromkeys(CANDIDATE_SCHEMA.names, "") | {
        "sample_index": 0,
        "variant": 0,
        "mask_start": -1,
        "mask_end": -1,
    }
    row |= {"prompt_tokens": 1, "completion_tokens": 1, "finish_reason": "stop", "source": "gsm8k"}
    row |= {"augmentation": "fobar", "question": "How many?", "question_id": "q", "request_key": reply}
    row |= {"response": REPLIES[reply], "expected": "24"} | changes
    return grade_candidate(row, style="gsm", compat=compat)


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=CANDIDATE_SCHEMA)


def selected(*replies: str) -> list[SelectionCandidate]:
    fixed = ("s", "gsm8k", "fobar", "GSM_FOBAR", "How many?", "r", 0)
    return [SelectionCandidate("q", *fixed, reply, "24", "t", "o") for reply in replies]


@pytest.mark.parametrize("compat", ["paper", "fixed"])
def test_both_rule_sets_are_counted_on_the_same_paths_whichever_the_run_used(compat: Compat) -> None:
    paths = table(*(candidate(reply, compat) for reply in REPLIES))
    difference = compare_verdicts(paths, [], compat=compat)["GSM_FOBAR"]
    assert (difference.paths, difference.correct_paper, difference.correct_fixed) == (6, 3, 2)
    assert (difference.correct_only_paper, difference.correct_only_fixed) == (2, 1)
    assert difference.points == pytest.approx(100 / 6)
    assert difference.verdicts_differ == 3


def test_rows_that_the_other_rules_would_refuse_are_counted() -> None:
    paths = table(*(candidate(reply, "paper") for reply in REPLIES))
    difference = compare_verdicts(paths, selected("right", "rounded"), compat="paper")["GSM_FOBAR"]
    assert (difference.rows, difference.rows_refused) == (2, 1)


def test_a_math_fraction_read_as_a_plain_number_is_gained_by_the_paper() -> None:
    row = candidate("wrong", "paper", response="The answer is: 4", expected="\\frac{3}{4}")
    row = grade_candidate(row | {"augmentation": "rephrasing"}, style="math", compat="paper")
    assert (row["verdict"], row["other_verdict"]) == ("correct", "incorrect")


def test_failed_and_cut_replies_have_one_verdict_under_both_rules() -> None:
    for changes, verdict in (
        ({"failure": "empty"}, "failed"),
        ({"finish_reason": "content_filter"}, "failed"),
        ({"finish_reason": "length"}, "truncated"),
    ):
        row = candidate("rounded", "fixed", **changes)
        assert (row["verdict"], row["other_verdict"]) == (verdict, verdict)


def test_questions_that_could_not_be_built_are_no_paths() -> None:
    unbuilt = candidate("none", "fixed", question="", failure="unusable")
    assert compare_verdicts(table(unbuilt), [], compat="fixed") == {}


def problem(question: str) -> Problem:
    return Problem("s", "gsm8k", "gsm", question, "3")


@pytest.mark.parametrize(
    ("question", "differs"),
    [
        pytest.param(
            "Ana has 30 pens. How many are left?",
            {"masks_paper": 1, "masks_fixed": 1},
            id="alike",
        ),
        pytest.param(
            "Ana sold half of 30 pens. How many are left?",
            {"masks_paper": 2, "masks_fixed": 1, "masks_only_paper": 1, "seeds_masks_differ": 1},
            id="half-is-a-number-to-the-paper",
        ),
        pytest.param(
            "Ana has 30 pens. How many are left? Answer in pens.",
            {"masks_paper": 1, "masks_fixed": 1, "clauses_differ": 1, "clauses_empty_paper": 1},
            id="empty-clause",
        ),
        pytest.param(
            "Ana has 30 pens. Of the pens she keeps, how many are left?",
            {"masks_paper": 1, "masks_fixed": 1, "clauses_differ": 1},
            id="clause-cut-at-a-comma",
        ),
    ],
)
def test_masks_and_clauses_of_seeds_are_compared(question: str, differs: dict[str, int]) -> None:
    counts = asdict(compare_seeds([problem(question)]))
    assert {name: count for name, count in counts.items() if count} == {"seeds": 1} | differs


def test_the_total_adds_the_types_up() -> None:
    rows = [candidate(reply, "fixed") for reply in ("right", "rounded")]
    rows += [candidate(reply, "fixed", augmentation="rephrasing") for reply in ("explained", "wrong")]
    told = compare_rules(table(*rows), selected("right"), [problem("How many?")], compat="fixed")
    assert set(told["by_type"]) == {"GSM_FOBAR", "GSM_Rephrased"}
    assert told["by_type"]["GSM_FOBAR"]["points"] == 50.0
    assert told["by_type"]["GSM_Rephrased"]["points"] == -50.0
    assert (told["total"]["paths"], told["total"]["points"], told["total"]["verdicts_differ"]) == (4, 0.0, 2)
