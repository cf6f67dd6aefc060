"""One row of a published or user file as a `Problem`: which format it has, what is wrong with it."""

import hashlib
import math
import re
from collections.abc import Sequence
from decimal import Decimal

from metamath_ray.problems._files import Row, describe
from metamath_ray.problems._gold import GSM8K_MARK, extract_gold_gsm8k, extract_gold_math
from metamath_ray.problems._record import Problem, Style

_UNSAFE_ID = re.compile(r"[^A-Za-z0-9._/-]+")
_COMMAND = re.compile(r"\\(?:[A-Za-z]+|[()\[\]$%])|\$\$[^$]+\$\$")
# Pandoc's rule tells `$x$` from prices: no blank inside either dollar, no digit after the second.
_INLINE_MATH = re.compile(r"(?<![\\$])\$(?=\S)([^$\n]*[^\s$])\$(?!\d)")
_SIMPLE_TERM = re.compile(r"(?:(?<![A-Za-z])[A-Za-z](?![A-Za-z])|[\d\s.,:+*/<>()|!'-])+")
_NUMBER_OR_TEXT = "a finite number or a non-empty string"
_MISSING_MATH_GOLDS = {"79595ba3b4cfcfe2": "0", "81a7fe8e017d681c": "0"}
"""Golds of the two problems of MATH's train set that were published with an empty box.

Keyed by the question's digest. Both solutions argue that there are no primes of the kind asked
for, and both offer 0 as choice (A).
"""


class RowError(ValueError):
    """A row that gives no problem; the text names the field, what is wrong, and what is allowed."""


def is_gsm8k_file(rows: Sequence[Row]) -> bool:
    """Whether at least half of a file's question rows carry `#### `: then one without is a mistake."""
    answers = [str(row.fields["answer"]) for row in rows if _may_be_gsm8k(row.fields)]
    num_marked = sum(GSM8K_MARK in answer for answer in answers)
    return 0 < len(answers) <= 2 * num_marked


def problem_from_row(row: Row, *, source: str, split: str, gsm8k_file: bool) -> Problem:
    """The problem of a row, in the format that its fields show; `RowError` where it has none.

    A row with `problem` is MATH's, one whose `answer` holds `#### ` is GSM8K's, any other generic.
    """
    if row.complaint:
        raise RowError(row.complaint)
    row_id = _row_id(row.fields, default=f"{source}-{split}-{row.number}")
    if "problem" in row.fields:
        return _math_problem(row.fields, row_id, source)
    if "question" not in row.fields:
        raise RowError("field 'question': missing; a row needs question and answer, or problem and solution")
    if _has_gsm8k_mark(row.fields) or (gsm8k_file and _may_be_gsm8k(row.fields)):
        return _gsm8k_problem(row.fields, row_id, source)
    return _generic_problem(row.fields, row_id, source)


def _has_gsm8k_mark(fields: dict[str, object]) -> bool:
    answer = fields.get("answer")
    return isinstance(answer, str) and GSM8K_MARK in answer


def _may_be_gsm8k(fields: dict[str, object]) -> bool:
    generic = "solution" in fields or "original_question" in fields
    return "question" in fields and "answer" in fields and not generic


def _gsm8k_problem(fields: dict[str, object], row_id: str, source: str) -> Problem:
    question = _text(fields, "question")
    answer = _text(fields, "answer")
    gold = extract_gold_gsm8k(answer)
    if gold is None:
        raise RowError(
            f"field 'answer': no '#### ' in {describe(answer)}; the other rows are GSM8K's, "
            "whose answer ends in '#### ' and the gold"
        )
    if not gold:
        raise RowError("field 'answer': nothing after '#### '; the gold must follow it")
    return Problem(row_id, source, "gsm", question, gold, answer)


def _math_problem(fields: dict[str, object], row_id: str, source: str) -> Problem:
    question = _text(fields, "problem")
    solution = _text(fields, "solution")
    gold = extract_gold_math(solution)
    if gold is None:
        raise RowError(
            r"field 'solution': no \boxed{} that closes; the gold must stand in the last \boxed{} or \fbox{}"
        )
    gold = gold or _MISSING_MATH_GOLDS.get(_digest(question), "")
    if not gold:
        raise RowError(r"field 'solution': the last \boxed{} is empty; the gold must stand in it")
    level = _optional_text(fields, "level")
    return Problem(row_id, source, "math", question, gold, solution, level, _optional_text(fields, "type"))


def _digest(question: str) -> str:
    return hashlib.sha256(" ".join(question.split()).encode()).hexdigest()[:16]


def _generic_problem(fields: dict[str, object], row_id: str, source: str) -> Problem:
    question = _text(fields, "question")
    answer = _number_or_text(fields, "answer")
    style = _guess_style(question, answer)
    return Problem(row_id, source, style, question, answer, _optional_text(fields, "solution"))


def _guess_style(question: str, answer: str) -> Style:
    return "math" if _holds_latex(question) or _holds_latex(answer) else "gsm"


def _holds_latex(text: str) -> bool:
    return bool(_COMMAND.search(text)) or any(_is_math(inside) for inside in _INLINE_MATH.findall(text))


def _is_math(inside: str) -> bool:
    return inside.isalpha() or bool(set(inside) & set("\\^_={}")) or bool(_SIMPLE_TERM.fullmatch(inside))


def _row_id(fields: dict[str, object], *, default: str) -> str:
    value = fields.get("id")
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(f"field 'id': must be a string or an integer, got {describe(value)}")
    parts = _UNSAFE_ID.sub("-", str(value)).split("/")
    safe = "/".join(part for part in parts if part.strip("."))
    if not safe.strip("-/"):
        raise RowError(f"field 'id': must hold a letter, a digit or '_', got {describe(value)}")
    return safe


def _text(fields: dict[str, object], name: str, *, allowed: str = "a non-empty string") -> str:
    if name not in fields:
        raise RowError(f"field '{name}': missing; it must be {allowed}")
    value = fields[name]
    if not isinstance(value, str):
        raise RowError(f"field '{name}': must be {allowed}, got {describe(value)}")
    if not value.strip():
        raise RowError(f"field '{name}': must not be blank, got {describe(value)}")
    return _without_surrogates(name, value)


def _optional_text(fields: dict[str, object], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(f"field '{name}': must be a string or absent, got {describe(value)}")
    return _without_surrogates(name, value)


def _number_or_text(fields: dict[str, object], name: str) -> str:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _text(fields, name, allowed=_NUMBER_OR_TEXT).strip()
    if not math.isfinite(value):
        raise RowError(f"field '{name}': must be {_NUMBER_OR_TEXT}, got {value}")
    return format(Decimal(repr(value)), "f")  # 1e21 as digits, 0.1 as written


def _without_surrogates(name: str, value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowError(
            f"field '{name}': lone surrogate {value[error.start]!r} at character {error.start}; "
            "text must be valid Unicode"
        ) from None
    return value
