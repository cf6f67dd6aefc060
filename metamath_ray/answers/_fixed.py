"""Equality under the fixed rules: string, then number, then symbolic."""

import re
from dataclasses import replace

from metamath_ray.answers._match import same_shape
from metamath_ray.answers._number import parse_number, write_out, write_out_signed
from metamath_ray.answers._precise import Undecided
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
    """Decide by string or number; None where only the symbolic step could.

    `unknown` where two values are nearer each other than the digits allowed can tell: nothing else may try.
    """
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
    written, gold = write_out_signed(predicted, gold), write_out_signed(gold, predicted)
    return _equal_read(written, gold, source)


def _equal_read(predicted: str, gold: str, source: AnswerStyle) -> Comparison | None:
    first, second = read_shape(predicted), read_shape(gold)
    if source == "gsm" and isinstance(second, Scalar):
        first = _worked_in_money(predicted) or first
        first = _number_among_words(predicted) or first
    if isinstance(second, Words | Scalar) and _ONE_LETTER.fullmatch(second.text):
        first = _choice_among_words(predicted) or first
    try:
        verdict = same_shape(first, second)
    except Undecided:
        return UNKNOWN
    if verdict is None:
        return None
    if isinstance(first, Words) or isinstance(second, Words):
        return SAME_STRING if verdict else OTHER_STRING
    return SAME_NUMBER if verdict else OTHER_NUMBER


_ONE_NUMBER = re.compile(
    r"(?P<before>[^\d+*/^=()<>|{}\[\]_%-]*?)(?P<number>-?\\?[$€£]?-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?: \d+/\d+|/\d+)?)"
    r"(?P<after>(?![,.]?\d)[^\d+*=()<>|{}\[\]_\\-]*)"
)
_DOLLARS = re.compile(r"\\?\$(?=[\d.])")


def _worked_in_money(text: str) -> Shape | None:
    """Read `9 * $2 = $18`, whose dollar signs delimit nothing."""
    return read_shape(_DOLLARS.sub("", text)) if "=" in text and "$" in text else None


_NOT_THIS_NUMBER = re.compile(
    r"n't\b|\b(?:not|never|cannot|(?:less|fewer|more|greater|larger|smaller|other) than|(?:below|under|over|above)) "
    r"(?:\w+ )?$|\b[A-Z]$",
    re.IGNORECASE,
)


def _number_among_words(text: str) -> Shape | None:
    """Read `Janet makes $18 a day`: the one number in a text without other mathematics, words as its unit."""
    match = _ONE_NUMBER.fullmatch(text)
    if match is None or _NOT_THIS_NUMBER.search(match["before"]):
        return None
    number, words = read_scalar(match["number"]), match["after"].strip()
    percent = words.lower().startswith(("%", "\\%", "percent"))
    unit = number.unit or (read_unit(words) if words and not percent else None)
    return replace(number, unit=unit, percent=percent)


_ONE_LETTER = re.compile(r"[A-Z]")
_NAMED_CHOICE = re.compile(r"(?:option|choice|answer) \(?([A-Z])\)?", re.IGNORECASE)
_CHOICE_WITH_TEXT = re.compile(r"(?:\\text ?\{ ?)?\(?([A-Z])(?:\) ?\}?[.:]?|[.:]\}?) (?P<rest>.+)")
_SECOND_CHOICE = re.compile(
    r"\([A-Z]\)|\b[A-Z][).:]|\b(?:and|or|not|nor|wrong|incorrect|false)\b|^[-+*/^=,;(]|[,;/&] ?[A-Z]\b"
)


def _choice_among_words(text: str) -> Shape | None:
    """Read `(B) 12 apples` and `option B` as the letter, unless a second letter or a `not` follows."""
    if named := _NAMED_CHOICE.fullmatch(text):
        return Words(named[1])
    match = _CHOICE_WITH_TEXT.fullmatch(text)
    return Words(match[1]) if match and not _SECOND_CHOICE.search(match["rest"]) else None


_MAX_SYMBOLIC = 300
_NOT_MATHEMATICS = re.compile(r"__|[\"'`@#;$]|[^ -~]")
_OPEN_ROOT = re.compile(r"\\sqrt ?\d\d")
"""Printed, `\\sqrt31` is the root of 3 and a 1; who writes it means 31. Neither reading may make it correct."""
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
    predicted, gold = write_out_signed(predicted, gold), write_out_signed(gold, predicted)
    predicted, gold = write_out(predicted), write_out(gold)
    for text in (predicted, gold):
        if len(text) > _MAX_SYMBOLIC or _NOT_MATHEMATICS.search(text) or _OPEN_ROOT.search(text):
            return OTHER_STRING
    return _BY_SYMBOLIC[pool.compare(predicted, gold)]
