"""Plain numbers, exactly: integers, decimals, fractions, separators, currency."""

import re
from decimal import Decimal
from fractions import Fraction

MAX_DIGITS = 400
_DIGITS = r"\d{1,3}(?:,\d{3})+(?!\d)|\d{1,2}(?:,\d{2})+,\d{3}|\d+"
_NUMBER = re.compile(
    rf"\s*+(?P<sign>[-+]?)\s*+\\?(?P<currency>[$€£]?)\s*+(?P<inner>[-+]?)(?P<whole>(?:{_DIGITS})?)"
    r"(?P<part>\.\d*)?(?:\s?/\s?(?P<below>\d+))?\s*+\.?\s*+",
    re.ASCII,
)  # possessive: hundreds of spaces shared out among five greedy runs take minutes
_SCIENTIFIC = re.compile(r"([-+]?\d+(?:\.\d+)?)(?:[eE]\+?(-?\d{1,3}))", re.ASCII)
_SCIENTIFIC_WITHIN = re.compile(r"(?<![\w.\\])(?:\d+(?:\.\d+)?|\.\d+)[eE]\d{1,3}(?![\d_]|\.\d)", re.ASCII)
_SIGNED_POWER = re.compile(r"[-+]?(\d+(?:\.\d+)?)[eE][-+]\d{1,3}", re.ASCII)
_LONE_E = re.compile(r"(?<![A-Za-z\\])[eE](?![A-Za-z])")


def parse_number(text: str) -> int | Fraction | None:
    """Give the exact value of a plain number, None where the text is anything else.

    `$1,234.50`, `-\\$3`, `3/4` and `2.5e6` are numbers; percent signs and units make it something else.
    """
    if len(text) <= 15 and text.isascii() and text.isdigit():
        return int(text)
    if len(text) > MAX_DIGITS:
        return None
    match = _NUMBER.fullmatch(text)
    if match is None:
        return _scientific(text)
    return _from_match(match)


def _from_match(match: re.Match[str]) -> int | Fraction | None:
    sign, _, inner, whole, part, below = match.groups()
    if not whole and (part is None or part == "."):
        return None
    plain = whole.replace(",", "")
    value: int | Fraction = Fraction(plain + part) if part and len(part) > 1 else int(plain)
    if below is not None:
        if int(below) == 0:
            return None
        value = Fraction(value, int(below))
    return -value if (sign == "-") != (inner == "-") else value


def _scientific(text: str) -> Fraction | None:
    match = _SCIENTIFIC.fullmatch(text.strip())
    if match is None:
        return None
    return Fraction(match[1]) * Fraction(10) ** int(match[2])


def write_out(text: str) -> str:
    """Write every `2e3` of a text as 2000: a computer algebra system reads it as 2 times e times 3."""
    if "e" not in text and "E" not in text:
        return text
    return _SCIENTIFIC_WITHIN.sub(lambda match: _digits(match[0]), text)


def write_out_signed(text: str, other: str) -> str:
    """Write `2e-3` as 0.002, unless it can be `2e - 3`: the answer beside it has an e of its own.

    `1e-3` and `2.5e-3` can not be.
    """
    match = _SIGNED_POWER.fullmatch(text)
    if match is None or (match[1] != "1" and "." not in match[1] and _LONE_E.search(other)):
        return text
    return _digits(text)


def _digits(text: str) -> str:
    return format(Decimal(text), "f")
