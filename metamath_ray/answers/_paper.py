"""The original's rules, quirks included, written from its description (paper section 4.1).

Every oddity here is wanted: results under these rules are to be compared with published figures.
"""

import math
import re
from fractions import Fraction

from metamath_ray.answers._types import (
    NO_ANSWER,
    OTHER_NUMBER,
    OTHER_STRING,
    SAME_NUMBER,
    SAME_STRING,
    AnswerStyle,
    Comparison,
)

_MARKER = "The answer is: "
_FIRST_NUMBER = re.compile(r"[\-+]?\d*[\.,/]?\d+")
_INTEGER = re.compile(r"[\-+]?\d+")
_MAX_DIGITS = 4_000  # the original raises on integers of more digits (and dies); here they have no value


def extract_paper(text: str, source: AnswerStyle) -> str | None:
    """Give what the original compares: a rounded integer (gsm) or the tail's first sentence (math)."""
    _, marker, tail = text.rpartition(_MARKER)
    if not marker:
        return None
    return first_number_rounded(tail) if source == "gsm" else _first_sentence(tail)


def first_number_rounded(text: str) -> str | None:
    """Give the first number in the text, a fraction evaluated, rounded half to even, as an integer.

    `1,234,567` gives 1234, `17.6` gives 18, `1/0` gives 1: the original's behaviour.
    """
    match = _FIRST_NUMBER.search(text)
    return None if match is None else _rounded(match[0])


def clean_number_paper(text: str) -> str | None:
    """Give the last number in the text as the original's dataset cleaning reads it, None if none.

    `10-5` gives `-5`, `\\frac{3}{4}` gives `4`: the reason why MATH rows were graded wrongly there.
    """
    matches = _FIRST_NUMBER.findall(text)
    return _rounded(matches[-1]) if matches else None


def equal_paper(predicted: str | None, gold: str, source: AnswerStyle) -> Comparison:
    """Compare as the original does: integers for gsm, normalised strings for math."""
    if predicted is None:
        return NO_ANSWER
    if source == "math":
        return SAME_STRING if _same_normalised(predicted, gold) else OTHER_STRING
    rounded = first_number_rounded(predicted)
    if rounded is None:
        return NO_ANSWER
    return SAME_NUMBER if rounded == _integer_gold(gold) else OTHER_NUMBER


def _integer_gold(gold: str) -> str | None:
    """Read a gold as the original does, with `int`: a decimal gold has no equal."""
    digits = gold.replace(",", "").strip()
    if not _INTEGER.fullmatch(digits) or len(digits) > _MAX_DIGITS:
        return None
    return str(int(digits))


def _rounded(number: str) -> str | None:
    plain = number.replace(",", "")
    if "/" in plain:
        return _rounded_fraction(plain)
    value = float(plain)
    return None if math.isinf(value) else str(round(value))


def _rounded_fraction(number: str) -> str | None:
    numerator, _, denominator = number.partition("/")
    if not _INTEGER.fullmatch(numerator) or len(number) > _MAX_DIGITS:
        return None
    try:
        value = float(Fraction(int(numerator), int(denominator) or 1))
    except OverflowError:
        return None
    return str(round(value))


def _first_sentence(tail: str) -> str | None:
    answer = tail.split(".\n")[0].strip()
    if answer.endswith("."):
        answer = answer[:-1].strip()
    return answer or None


def _same_normalised(first: str, second: str) -> bool:
    try:
        return normalise_paper(first) == normalise_paper(second)
    except (IndexError, ValueError):
        return first == second


def normalise_paper(text: str) -> str:
    """Normalise LaTeX as the MATH authors' script does.

    Raises:
        IndexError: a `\\sqrt` or `\\frac` ends the text.
        ValueError: the text holds two units (`\\text{ `).
    """
    for old, new in _REPLACEMENTS:
        text = text.replace(old, new)
    text = _without_right_unit(text)
    text = text.replace("\\%", "").replace("%", "").replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    text = _without_left_side("0" + text if text[0] == "." else text)
    text = _brace_roots(text).replace(" ", "")
    text = _brace_fractions(text)
    return _slash_to_fraction("\\frac{1}{2}" if text == "0.5" else text)


_REPLACEMENTS = (
    ("\n", ""),
    ("\\!", ""),
    ("\\\\", "\\"),
    ("tfrac", "frac"),
    ("dfrac", "frac"),
    ("\\left", ""),
    ("\\right", ""),
    ("^{\\circ}", ""),
    ("^\\circ", ""),
    ("\\$", ""),
)


def _without_right_unit(text: str) -> str:
    parts = text.split("\\text{ ")
    if len(parts) > 2:
        raise ValueError(f"two units in one answer: {text!r}")
    return parts[0]


def _without_left_side(text: str) -> str:
    parts = text.split("=")
    return parts[1] if len(parts) == 2 and len(parts[0]) <= 2 else text


def _brace_roots(text: str) -> str:
    head, *roots = text.split("\\sqrt")
    return head + "".join(
        "\\sqrt" + root if root[0] == "{" else "\\sqrt{" + root[0] + "}" + root[1:] for root in roots
    )


def _brace_fractions(text: str) -> str:
    head, *fractions = text.split("\\frac")
    parts = [head]
    for fraction in fractions:
        if fraction[0] == "{":
            parts.append("\\frac" + fraction)
        elif len(fraction) < 2:
            return text
        else:
            bottom = fraction[1] if fraction[1] == "{" else "{" + fraction[1] + "}"
            parts.append("\\frac{" + fraction[0] + "}" + bottom + fraction[2:])
    return "".join(parts)


def _slash_to_fraction(text: str) -> str:
    numerator, slash, denominator = text.partition("/")
    if not slash or not (_INTEGER.fullmatch(numerator) and _INTEGER.fullmatch(denominator)):
        return text
    if len(text) > _MAX_DIGITS or f"{int(numerator)}/{int(denominator)}" != text:
        return text
    return "\\frac{" + numerator + "}{" + denominator + "}"
