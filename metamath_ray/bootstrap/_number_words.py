"""English number words: which stretches of a text are one number, and which."""

import re

_UNIT_WORDS = "one|two|three|four|five|six|seven|eight|nine"
_TEEN_WORDS = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS_WORDS = "twenty|thirty|forty|fourty|fifty|sixty|seventy|eighty|ninety"
_VALUES = {
    **{word: value for value, word in enumerate(_UNIT_WORDS.split("|"), start=1)},
    **{word: value for value, word in enumerate(_TEEN_WORDS.split("|"), start=10)},
    **{word: 10 * value for value, word in enumerate(_TENS_WORDS.replace("|fourty", "").split("|"), start=2)},
    "fourty": 40,
}
_SCALES = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}

_below_100 = rf"(?:(?:{_TENS_WORDS})(?:[\s-](?:{_UNIT_WORDS}))?|{_TEEN_WORDS}|{_UNIT_WORDS})\b"
_below_1000 = rf"(?:{_below_100}[\s-]hundred\b(?:\s(?:and\s)?{_below_100})?|{_below_100})"
_full = rf"{_below_1000}(?:[\s-](?:{'|'.join(_SCALES)})\b(?:,?\s(?:and\s)?{_below_1000})?)*"

NUMBER_WORD = re.compile(rf"\b{_full}(?!\w)", re.IGNORECASE)
"""One whole number in words, compounds taken together ("one hundred and twenty")."""


def parse_number_words(words: str) -> int:
    """Give the value of a stretch that `NUMBER_WORD` matched."""
    total = group = 0
    for word in re.split(r"[\s,-]+", words.lower()):
        if word == "hundred":
            group *= 100
        elif word in _SCALES:
            total, group = total + group * _SCALES[word], 0
        elif word != "and":
            group += _VALUES[word]
    return total + group
