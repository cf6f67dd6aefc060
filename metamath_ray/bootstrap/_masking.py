"""Masking: which numbers of a question a backward question may ask for."""

import re
from collections import Counter

from metamath_ray.problems import Style

from ._latex import blank, find_figures, find_formulas, strip_commands
from ._mask import Compat, Mask, Number
from ._masking_gsm import find_prose_numbers
from ._masking_math import find_math_numbers
from ._masking_paper import find_paper_masks


def find_masks(question: str, *, style: Style, compat: Compat = "fixed") -> list[Mask]:
    """Give one mask for each number that is clear in the question, in order of position.

    The variable is `x`; where a MATH question has an `x`, `X`. A question that leaves no free
    variable has no masks. A longer number (GSM8K three digits, MATH two) that is said twice is left
    alone: masked in one place it could be read off the other. `compat="paper"`
    follows PAPER.md, defects included.
    """
    if compat == "paper":
        return find_paper_masks(question, style=style)
    variable = choose_variable(question, style=style)
    if variable is None:
        return []
    numbers = find_math_numbers(question) if style == "math" else find_prose_numbers(question)
    apart = _drop_repeated(numbers, num_digits=2 if style == "math" else 3)
    return [Mask(n.start, n.end, n.value, n.kind, variable) for n in apart]


def choose_variable(question: str, *, style: Style) -> str | None:
    """Give the variable that the question does not use: `x`, for MATH also `X`; None where there is none."""
    if style == "gsm":
        return None if re.search(r"(?<![A-Za-z])[xX](?![A-Za-z])", question) else "x"
    return next((letter for letter in "xX" if not _uses_letter(question, letter)), None)


def _drop_repeated(numbers: list[Number], *, num_digits: int) -> list[Number]:
    said = Counter((n.value, n.kind == "percent") for n in numbers)
    once = {number for number in numbers if said[number.value, number.kind == "percent"] == 1}
    return [n for n in numbers if n in once or len(re.findall(r"\d", n.value)) < num_digits]


def _uses_letter(question: str, letter: str) -> bool:
    formulas = find_formulas(question)
    if any(letter in strip_commands(question[start:end]) for start, end in formulas):
        return True
    outside = blank(question, [*formulas, *find_figures(question)])
    figures = " ".join(question[start:end] for start, end in find_figures(question))
    alone = rf"(?<![A-Za-z\\]){letter}(?![A-Za-z])"
    return re.search(alone, outside) is not None or re.search(alone, figures) is not None
