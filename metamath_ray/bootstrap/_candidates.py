"""The candidates table: every reasoning path with its verdict and where it came from; and how it is graded."""

from typing import Any, Literal

import pyarrow as pa

from metamath_ray.answers import AnswerStyle, Graded, clean_number_paper, equal, grade
from metamath_ray.bootstrap._mask import Compat, other_rules

Verdict = Literal["correct", "incorrect", "no_answer", "truncated", "failed"]

CANDIDATE_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("seed_id", pa.string()),
        ("source", pa.string()),
        ("augmentation", pa.string()),
        ("question", pa.string()),
        ("expected", pa.string()),
        ("sample_index", pa.int32()),
        ("response", pa.string()),
        ("extracted", pa.string()),
        ("verdict", pa.string()),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("request_key", pa.string()),
        ("teacher", pa.string()),
        ("decided_by", pa.string()),  # none, string or number: the step of the grader that decided
        ("failure", pa.string()),  # why a failed sample failed
        ("mask_start", pa.int32()),  # code points of the seed's question; -1 where nothing is masked
        ("mask_end", pa.int32()),
        ("variant", pa.int32()),  # which of the questions that the seed gives by this augmentation
        ("other_verdict", pa.string()),  # under the rules that the run did not ask for, on the same reply
    ]
)
"""Columns of `candidates/*.parquet`; a row with an empty `question` is a question that could not be built."""


def grade_candidate(row: dict[str, Any], *, style: AnswerStyle, compat: Compat) -> dict[str, Any]:
    """The row with its verdict under the run's rules, and `other_verdict` under the others.

    Sets `extracted`, `verdict`, `decided_by` and `other_verdict` from `response` and `expected`.

    The grader's symbolic step is left out: it runs against a clock, and a build must give the same rows on a
    busy machine. A pair that only it could decide counts as incorrect, so a right row may be lost, never a
    wrong one gained.
    """
    if row["finish_reason"] == "content_filter":
        row = {**row, "failure": "content_filter"}
    if row["failure"]:
        nothing = {"extracted": "", "decided_by": "none"}
        return {**row, **nothing, "verdict": "failed", "other_verdict": "failed"}
    graded, other = (
        _grade(row["response"], row["expected"], row["augmentation"], style=style, compat=rules)
        for rules in (compat, other_rules(compat))
    )
    is_cut = row["finish_reason"] == "length"
    return {
        **row,
        "extracted": graded.extracted or "",
        "verdict": _verdict(graded, is_cut=is_cut),
        "decided_by": graded.decided_by,
        "other_verdict": _verdict(other, is_cut=is_cut),
    }


def _verdict(graded: Graded, *, is_cut: bool) -> Verdict:
    assert graded.verdict != "unknown", "only the symbolic step gives it"
    return "truncated" if is_cut else graded.verdict


def _grade(response: str, expected: str, augmentation: str, *, style: AnswerStyle, compat: Compat) -> Graded:
    as_plain_number = style == "gsm" or augmentation in ("rephrasing", "self_verification")
    if (
        compat == "paper" and as_plain_number
    ):  # the original cleaned MATH's answers so too: \frac{3}{4} became 4
        predicted = clean_number_paper(response)
        gold = clean_number_paper(expected) or expected
        compared = equal(predicted, gold, source="gsm", rules="paper")
        return Graded(predicted, compared.verdict, compared.decided_by)
    return grade(
        response, expected, source=style, rules="paper" if compat == "paper" else "fixed", symbolic=False
    )
