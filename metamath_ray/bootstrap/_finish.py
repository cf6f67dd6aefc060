"""A teacher's reply as a training response: trimmed behind its answer, with the released file's tail."""

import re

from metamath_ray.bootstrap._mask import Compat
from metamath_ray.problems import Style

_MARKER = re.compile(r"(?:^[ \t>*_\-]*)?The answer is:", re.MULTILINE | re.IGNORECASE)
_TAIL_LINE = re.compile(r"[ \t>*_\-]*(?:####|The answer is:)|\s*\Z", re.IGNORECASE)


def finish_response(reply: str, *, answer: str, style: Style, compat: Compat = "fixed") -> str:
    """The reply's reasoning and the tail `#### A` (GSM8K style only) and `The answer is: A`.

    What stands behind the last `The answer is:` goes, and so do answer lines before it. Empty where the
    reply holds an answer but no reasoning. Paper mode leaves the reply as it is.
    """
    if compat == "paper":
        return reply
    markers = list(_MARKER.finditer(reply))
    lines = (reply[: markers[-1].start()] if markers else reply).strip().split("\n")
    while lines and _TAIL_LINE.match(lines[-1]):
        lines.pop()
    if not lines:
        return ""
    reasoning = "\n".join(lines).rstrip()
    hashes = f"#### {answer}\n" if style == "gsm" else ""
    return f"{reasoning}\n{hashes}The answer is: {answer}"
