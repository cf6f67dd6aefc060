"""Whether a rephrasing is the seed's problem still: the same numbers, a question, nothing of its solution."""

import re
from fractions import Fraction

from metamath_ray.bootstrap._number_words import NUMBER_WORD, parse_number_words
from metamath_ray.problems import Style

_DIGITS = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d+")
_SOLVING = "(?:add|subtract|multiply|divide|calculate)"
_EXPLAINS = re.compile(
    rf"\b(?:we|you)\s+(?:first\s+)?(?:need|must|should|{_SOLVING})\b|\blet['’]?s\b|\bstep[ -]by[ -]step\b"
    rf"|\bto\s+(?:find|determine|calculate|compute)\b[^.?]*,\s*{_SOLVING}\b",
    re.IGNORECASE,
)
_SMALL = frozenset({"1", "2"})


def keeps_the_problem(original: str, rephrased: str, *, style: Style) -> bool:
    """True where `rephrased` asks what `original` asks, as far as its wording tells.

    A weak teacher drops a number, works a step out, or explains how to solve it instead of asking; a right
    answer to that is luck. GSM8K's problems end in a question; MATH's may be commands.
    """
    if _EXPLAINS.search(rephrased) and not _EXPLAINS.search(original):
        return False
    if style == "gsm" and not rephrased.rstrip("\"' ”*").endswith("?"):
        return False
    return same_numbers(original, rephrased)


def same_numbers(original: str, rephrased: str) -> bool:
    """True where no number of `original` is lost in `rephrased`, and none is new there.

    Numbers in digits and in words count alike, `1,200` and `1200` too. One and two are left out where
    either side has them in words: "both" and "each" come and go with the wording.
    """
    (digits, words), (other_digits, other_words) = _numbers(original), _numbers(rephrased)
    changed = (digits | words) ^ (other_digits | other_words)
    return not changed - (_SMALL & (words | other_words) - (digits | other_digits))


def _numbers(text: str) -> tuple[set[str], set[str]]:
    digits = {str(Fraction(match.group().replace(",", ""))) for match in _DIGITS.finditer(text)}
    words = {str(parse_number_words(match.group())) for match in NUMBER_WORD.finditer(text)}
    return digits, words
