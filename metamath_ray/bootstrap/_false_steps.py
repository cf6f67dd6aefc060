"""Arithmetic that a reasoning path states and that does not hold: a path can reach a right answer by it."""

import re
from fractions import Fraction
from itertools import pairwise

from metamath_ray.problems import compute_arithmetic

_CHAIN = re.compile(r"[\d(][\d.,()+\-*/% =]*")  # all that can belong to one: a path is read once
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "$": "", "\u00a0": " "})
_LATEX = re.compile(r"\\(?:times|cdot)\b|\\div\b|\\(?:left|right|[,!;()\[\]])|\\([%$])")
_LIST_MARK = re.compile(r"^[ \t>]*(?:[-*•+][ \t]+|\d{1,2}[.)][ \t]+)", re.MULTILINE)
_BEFORE = re.compile(
    r"(?:\A|\n|[.:;,?!]\s|\b(?:is|are|was|get|gets|have|has|had|so|calculate|makes?|gives?|costs?|spends?|spent"
    r"|earns?|earned|pays?|paid|needs?|total|therefore|then|left|sold|takes?|add|do|be)\s)[*_(\s]*\Z",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"\s*(?:[-+*/^!=<>≈({\\_:√]|[A-Za-z]\b|(?:mod|percent|cents?|hundred|thousand|million|billion|dozen|half|remainder)\b)"
    r"|[A-Za-z\d]",
    re.IGNORECASE,
)
_OPERATION = re.compile(r"\d[)% ]*[-+*/][( ]*\d")
_LONE_PERCENT = re.compile(r"[-+][^*/]*%|%[^*/]*[-+]")
_CONVERSIONS = frozenset(map(Fraction, (7, 12, 16, 24, 30, 36, 52, 60, 100, 365, 1000, 3600)))


def find_false_steps(path: str) -> list[str]:
    r"""The chains `a op b = c …` of plain numbers in a path whose sides differ, as they read after tidying.

    Made to be right where it speaks, not to find everything: a chain counts only where it stands alone (no
    variable, unit, power or word such as "half of" goes into it), rounding is granted, so are percent signs
    in either reading, a factor between usual units (300 = 5 hours) and run-on sums (`2 * 3 = 6 + 4 = 10`).
    """
    text = _LIST_MARK.sub("", _LATEX.sub(_plain_sign, path).translate(_SIGNS))
    return [match.group().strip() for match in _CHAIN.finditer(text) if _is_false(match, text)]


def _plain_sign(match: re.Match[str]) -> str:
    command = match.group()
    if command in (r"\times", r"\cdot"):
        return "*"
    return "/" if command == r"\div" else match[1] or ""


def _is_false(match: re.Match[str], text: str) -> bool:
    sides = [side.strip().rstrip(".,") for side in match.group().split("=")]
    end = match.start() + len(match.group().rstrip(" .,("))
    if not _BEFORE.search(text[max(0, match.start() - 40) : match.start()]) or _AFTER.match(text[end:]):
        return False
    if not _OPERATION.search(sides[0]) or any(_LONE_PERCENT.search(side) for side in sides):
        return False
    values = [_readings(side) for side in sides]
    if not all(values):
        return False
    return not all(
        _agree(values[at], values[at + 1], right) or _agree(values[at], _readings(_head(right)), right)
        for at, (_, right) in enumerate(pairwise(sides))
    )


def _readings(side: str) -> list[Fraction]:
    """Its value with percent as hundredths, and with the sign set aside; none where it is no arithmetic."""
    values = [compute_arithmetic(side), compute_arithmetic(side.replace("%", ""))]
    return [value for value in values if value is not None]


def _head(side: str) -> str:
    """The number that begins a run-on sum."""
    number = re.match(r"-? ?[\d,]*\.?\d+", side)
    return number.group() if number else ""


def _agree(ones: list[Fraction], others: list[Fraction], right: str) -> bool:
    decimals = max((len(digits) for digits in re.findall(r"\.(\d+)", right)), default=0)
    return any(_is_close(one, other, decimals) for one in ones for other in others)


def _is_close(one: Fraction, other: Fraction, decimals: int) -> bool:
    if one == other:
        return True
    is_rounded = (one * 10**decimals).denominator != 1
    if is_rounded and abs(one - other) < Fraction(1, 10**decimals):
        return True
    ratio = one / other if other else Fraction(0)
    return ratio in _CONVERSIONS or (ratio != 0 and 1 / ratio in _CONVERSIONS)
