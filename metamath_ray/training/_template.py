"""Which prompt a training row gets, and a name for it that tells packed data of one template from another's."""

import hashlib
from typing import Literal

from metamath_ray.student_prompt import (
    PAPER_INPUT_PROMPT,
    STUDENT_PROMPT,
    render_paper_training_prompt,
    render_student_prompt,
)

Compat = Literal["fixed", "paper"]


def render_prompt(query: str, *, compat: Compat = "fixed") -> str:
    """The text before the response; paper mode splits the query at its first newline (PAPER.md, "Defects")."""
    return render_paper_training_prompt(query) if compat == "paper" else render_student_prompt(query)


def template_identity(compat: Compat = "fixed") -> str:
    """A name and 16 hex digits that change with the prompt's text, for example `alpaca-0123456789abcdef`."""
    if compat == "paper":
        return f"alpaca-split-{_digest(STUDENT_PROMPT + PAPER_INPUT_PROMPT)}"
    return f"alpaca-{_digest(STUDENT_PROMPT)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
