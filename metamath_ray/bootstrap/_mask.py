"""A masked number: where it stood, what it was, and how to put it back."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Compat = Literal["fixed", "paper"]
"""Our rules, or those that PAPER.md reports of the original with their defects."""


def other_rules(compat: Compat) -> Compat:
    """The rules that a run under `compat` is compared with."""
    return "fixed" if compat == "paper" else "paper"


class Number(NamedTuple):
    """A number found in a question: its span in code points, its value and its kind."""

    start: int
    end: int
    value: str
    kind: str


@dataclass(frozen=True, slots=True)
class Mask:
    """One number of a seed problem's question, replaced by a variable.

    `start` and `end` are code points of the question; what stands there is replaced by `variable`
    and `suffix`. `value` is the expected answer: the masked number without separators and signs, or
    its LaTeX where it is a power or a fraction of LaTeX. `kind` is for counting. `suffix` is empty
    but for the paper's "half", which became `x%`.
    """

    start: int
    end: int
    value: str
    kind: str
    variable: str
    suffix: str = ""


def apply_mask(question: str, mask: Mask) -> str:
    """Give the question with the masked number's span replaced by the variable."""
    return question[: mask.start] + mask.variable + mask.suffix + question[mask.end :]


def undo_mask(masked: str, mask: Mask, original_span: str) -> str:
    """Give the question back; `original_span` is `question[mask.start:mask.end]`.

    Raises ValueError where `masked` does not hold the mask's variable at its place.
    """
    inserted = mask.variable + mask.suffix
    end = mask.start + len(inserted)
    if masked[mask.start : end] != inserted:
        found = masked[mask.start : end]
        raise ValueError(f"the text must hold {inserted!r} at position {mask.start}, got {found!r}")
    return masked[: mask.start] + original_span + masked[end:]
