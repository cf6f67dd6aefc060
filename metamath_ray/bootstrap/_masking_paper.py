"""The original's masking, as far as PAPER.md and the published GSM8K-Backward rows tell."""

import re
from collections.abc import Iterator

from metamath_ray.problems import Style

from ._mask import Mask
from ._number_words import NUMBER_WORD, parse_number_words

_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_TRAILING = re.compile(r"[,.?!;:]+\Z")


def find_paper_masks(question: str, *, style: Style) -> list[Mask]:
    """Give the original's masks: tokens between blanks, "one" and "half" too, defects included.

    A token's last number is the gold, whatever else the token held. GSM8K keeps a `$` before and a
    `%` behind the number, but loses the `$` where punctuation follows; MATH loses every sign of the
    token. Known from PAPER.md: "half", `$.50` with gold 50, the lost `$`, the last number; read off
    the published rows: which signs survive. Guessed: MATH's punctuation survives.
    """
    variable = "x" if style == "gsm" else "X"
    return list(_iter_masks(question, variable))


def _iter_masks(question: str, variable: str) -> Iterator[Mask]:
    for match in re.finditer(r"\S+", question):
        token = _TRAILING.sub("", match.group())
        start, end = match.start(), match.start() + len(token)
        if token.lower() == "half":
            yield Mask(start, end, "50", "half", variable, suffix="%")
        elif NUMBER_WORD.fullmatch(token):
            yield Mask(start, end, str(parse_number_words(token)), "word", variable)
        elif numbers := _NUMBER.findall(token):
            start, end = _keep_signs(question, start, end) if variable == "x" else (start, end)
            yield Mask(start, end, _read_gold(numbers[-1]), "token", variable)


def _read_gold(number: str) -> str:
    return re.sub(r"\.0+\Z", "", number.replace(",", ""))


def _keep_signs(question: str, start: int, end: int) -> tuple[int, int]:
    punctuated = end < len(question) and not question[end].isspace()
    if question[start] == "$" and not punctuated:
        start += 1
    if question[end - 1] == "%":
        end -= 1
    return start, end
