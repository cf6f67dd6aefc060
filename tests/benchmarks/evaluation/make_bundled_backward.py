"""The backward twin of the bundled test set: the benchmark `bundled_backward`.

    python tests/benchmarks/evaluation/make_bundled_backward.py

Writes `metamath_ray/problems/bundled/backward.jsonl`, the same bytes each time; a unit test compares them. Every bundled
test problem gives at most one FOBAR and one self-verification question, in GSM8K-Backward's fields. A number is masked
only where the problem's worked solution, run with an unknown in the number's place, gives the answer for that number
alone. The statements that self-verification needs are written by hand, a line a problem, in `bundled_statements.txt`.
"""

import ast
import json
import operator
import re
from pathlib import Path
from typing import Any

import sympy

from metamath_ray.bootstrap import Mask, find_masks
from metamath_ray.bootstrap._augmentations import (
    clean_statement,
    fobar_question,
    masks_for_self_verification,
    self_verification_question,
)
from metamath_ray.problems import Problem, load_bundled

HERE = Path(__file__).parent
OUTPUT = HERE.parents[2] / "metamath_ray" / "problems" / "bundled" / "backward.jsonl"
STATEMENTS = HERE / "bundled_statements.txt"

_STEP = re.compile(r"<<(.*?)=([^=<>]*)>>")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_ROUNDED = re.compile(r"\bcompletely\b|\bfull round trips\b")  # several numbers lead to one such answer
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def main() -> None:
    """Write the file and say what is in it."""
    rows = backward_rows()
    OUTPUT.write_text(encode(rows), encoding="utf-8")
    num_fobar = sum(row["id"].endswith("fobar") for row in rows)
    print(f"{OUTPUT.name}: {num_fobar} FOBAR, {len(rows) - num_fobar} self-verification")


def encode(rows: list[dict[str, str]]) -> str:
    """The file's text: a JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def backward_rows() -> list[dict[str, str]]:
    """The rows in order of the test set: FOBAR, then self-verification by another number where there is one."""
    rows = []
    statements = STATEMENTS.read_text(encoding="utf-8").splitlines()
    for place, (problem, statement) in enumerate(zip(load_bundled("test"), statements, strict=True)):
        assert clean_statement(statement, answer=problem.answer) == statement, statement
        masks = [mask for mask in find_masks(problem.question, style="gsm") if is_determined(problem, mask)]
        if masks:
            mask = masks[place % len(masks)]
            question = fobar_question(problem.question, mask, problem.answer)
            rows.append(_row(problem, "fobar", question, mask))
        if told := masks_for_self_verification(problem.question, masks, style="gsm"):
            mask = told[(place + 1) % len(told)]
            question = self_verification_question(problem.question, mask, statement, style="gsm")
            rows.append(_row(problem, "sv", question, mask))
    return rows


def is_determined(problem: Problem, mask: Mask) -> bool:
    """Whether the answer follows from the masked number and, of all positive numbers, from no other.

    The solution's steps are run with an unknown for every number of the mask's value. False where it can't be told
    which number a step means: another number of the question, or another result, has the same value.
    """
    if not mask.value.isdigit() or _ROUNDED.search(problem.question):
        return False
    unknown = sympy.Symbol("x", positive=True)
    masked = sympy.Integer(mask.value)
    others = _other_numbers(problem.question, mask)
    known: dict[Any, Any] = {masked: unknown}
    computed: Any = masked
    for expression, result in _STEP.findall(problem.solution):
        computed, value = _compute(ast.parse(expression, mode="eval").body, known), sympy.Rational(result)
        if known.get(value, computed) != computed or (computed.has(unknown) and value in others):
            return False
        known[value] = computed
    is_used = computed.has(unknown) and masked not in others
    return is_used and sympy.solve(computed - sympy.Rational(problem.answer), unknown) == [masked]


def _other_numbers(question: str, mask: Mask) -> set[Any]:
    rest = question[: mask.start] + " " + question[mask.end :]
    digits = {sympy.Rational(text.rstrip(",").replace(",", "")) for text in _NUMBER.findall(rest)}
    words = {sympy.Rational(other.value) for other in find_masks(question, style="gsm") if other != mask}
    return digits | words


def _compute(node: ast.expr, known: dict[Any, Any]) -> Any:
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_compute(node.left, known), _compute(node.right, known))
    assert isinstance(node, ast.Constant)
    value = sympy.Rational(str(node.value))
    return known.get(value, value)


def _row(problem: Problem, kind: str, question: str, mask: Mask) -> dict[str, str]:
    return {
        "id": f"{problem.id}-{kind}",
        "question": question,
        "answer": mask.value,
        "original_question": problem.question,
        "original_answer": problem.answer,
    }


if __name__ == "__main__":
    main()
