"""Equality under the fixed rules: string, then number, then symbolic."""

import re
from dataclasses import replace

from metamath_ray.answers._match import same_shape
from metamath_ray.answers._number import parse_number
from metamath_ray.answers._shape import Scalar, Shape, Words, read_scalar, read_shape
from metamath_ray.answers._symbolic_pool import SymbolicPool
from metamath_ray.answers._tidy import squash, tidy
from metamath_ray.answers._types import (
    NO_ANSWER,
    OTHER_NUMBER,
    OTHER_STRING,
    OTHER_SYMBOLIC,
    SAME_NUMBER,
    SAME_STRING,
    SAME_SYMBOLIC,
    UNKNOWN,
    AnswerStyle,
    Comparison,
)
from metamath_ray.answers._units import read_unit

MAX_LENGTH = 1_000
"""Longer answers are compared as strings only: no answer of the benchmarks comes near."""


def equal_cheaply(predicted: str | None, gold: str, source: AnswerStyle) -> Comparison | None:
    """Decide by string or number; None where only the symbolic step could."""
    if predicted is None:
        return NO_ANSWER
    if predicted == gold and predicted:
        return SAME_STRING
    first = parse_number(predicted)
    if first is not None and (second := parse_number(gold)) is not None:
        return SAME_NUMBER if first == second else OTHER_NUMBER
    return _equal_tidied(predicted, gold, source)


def _equal_tidied(predicted: str, gold: str, source: AnswerStyle) -> Comparison | None:
    if len(predicted) > MAX_LENGTH or len(gold) > MAX_LENGTH:
        same = "".join(predicted.split()) == "".join(gold.split())
        return SAME_STRING if same else OTHER_STRING
    predicted, gold = tidy(predicted), tidy(gold)
    if not predicted:
        return NO_ANSWER
    if squash(predicted) == squash(gold):
        return SAME_STRING
    first, second = read_shape(predicted), read_shape(gold)
    if source == "gsm" and isinstance(second, Scalar):
        first = _number_among_words(predicted) or first
    verdict = same_shape(first, second)
    if verdict is None:
        return None
    if isinstance(first, Words) or isinstance(second, Words):
        return SAME_STRING if verdict else OTHER_STRING
    return SAME_NUMBER if verdict else OTHER_NUMBER


_ONE_NUMBER = re.compile(
    r"(?P<before>[^\d+*/^=()<>|{}\[\]_%-]*?)(?P<number>-?\\?[$€£]?-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?: \d+/\d+|/\d+)?)"
    r"(?P<after>(?![,.]?\d)[^\d+*=()<>|{}\[\]_\\-]*)"
)


def _number_among_words(text: str) -> Shape | None:
    """Read `Janet makes $18 a day`: the one number in a text without other mathematics, words as its unit."""
    match = _ONE_NUMBER.fullmatch(text)
    if match is None:
        return None
    number, words = read_scalar(match["number"]), match["after"].strip()
    percent = words.lower().startswith(("%", "\\%", "percent"))
    unit = number.unit or (read_unit(words) if words and not percent else None)
    return replace(number, unit=unit, percent=percent)


_MAX_SYMBOLIC = 300
_NOT_MATHEMATICS = re.compile(r"__|[\"'`@#;$]|[^ -~]")
_BY_SYMBOLIC = {
    "correct": SAME_SYMBOLIC,
    "incorrect": OTHER_SYMBOLIC,
    "unknown": UNKNOWN,
    "unreadable": OTHER_STRING,
}


def equal_symbolically(predicted: str, gold: str, pool: SymbolicPool) -> Comparison:
    """Ask math-verify about a pair that the cheaper steps could not decide.

    Text that no mathematical answer contains does not get there: its strings differ, and that is the verdict.
    """
    predicted, gold = tidy(predicted), tidy(gold)
    for text in (predicted, gold):
        if len(text) > _MAX_SYMBOLIC or _NOT_MATHEMATICS.search(text):
            return OTHER_STRING
    return _BY_SYMBOLIC[pool.compare(predicted, gold)]
