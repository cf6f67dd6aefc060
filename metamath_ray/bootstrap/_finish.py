"""A teacher's reply as a training response: trimmed behind its answer, with the released file's tail."""

import re

from metamath_ray.bootstrap._mask import Compat
from metamath_ray.problems import Style

_ANSWER_LINE = re.compile(r"^[ \t]*(?:\*\*)?The answer is:[^\n]*", re.MULTILINE | re.IGNORECASE)
_HASHES = re.compile(r"\n[ \t]*####[^\n]*\s*\Z")


def finish_response(reply: str, *, extracted: str, style: Style, compat: Compat = "fixed") -> str:
    """The reply's reasoning and the tail `#### A` (GSM8K style only) and `The answer is: A`.

    What the teacher wrote behind its last answer line goes; paper mode leaves the reply as it is.
    """
    if compat == "paper":
        return reply
    lines = list(_ANSWER_LINE.finditer(reply))
    reasoning = reply[: lines[-1].start()] if lines else reply
    reasoning = _HASHES.sub("", "\n" + reasoning.strip()).strip()
    tail = (
        f"#### {extracted}\nThe answer is: {extracted}" if style == "gsm" else f"The answer is: {extracted}"
    )
    return f"{reasoning}\n{tail}" if reasoning else tail
