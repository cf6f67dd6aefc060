"""Whether two wordings of one problem speak of the same numbers."""

import re
from fractions import Fraction

from metamath_ray.bootstrap._number_words import NUMBER_WORD, parse_number_words

_DIGITS = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d+")
_SMALL = frozenset({"1", "2"})


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
