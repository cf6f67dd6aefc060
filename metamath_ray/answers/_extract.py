"""Find the final answer in a reply under the fixed rules."""

import re

from metamath_ray.answers._boxed import find_boxed
from metamath_ray.answers._types import AnswerStyle

_MARKER = "The answer is:"
_ANY_MARKER = re.compile(
    r"\b(?:the\s{1,4}(?:final\s{1,4})?answer\s{1,4}is|final\s{1,4}answer(?:\s{1,4}is)?)\s{0,4}(?:\*\*)?:"
    r"|^[#* ]{0,8}answer(?:\*\*)?:",
    re.IGNORECASE | re.MULTILINE,
)
_IN_PASSING = re.compile(
    r"\bthe\s{1,4}(?:(?:final\s{1,4})?answer"
    r"|value\s{1,4}of\s{1,4}(?:the\s{1,4})?(?:unknown\s{1,4})?(?:variable\s{1,4})?\\?[($]{0,2}[xX]\\?[)$]{0,2})\s{1,4}is\b",
    re.IGNORECASE,
)
_HASHES = "####"
_REASON = re.compile(
    r",?\s{1,3}(?:because|since|which|so that|as (?:the|he|she|it|we|they|there"
    r"|required|desired|claimed|expected|needed|stated))\b.*"
    r"|(?:,|\s{1,3}\()\s{0,3}not\b.*|(?<=%)\s{1,3}of\b.*"
    r"|(?<=\d)\s{1,3}\([A-Za-z][a-z]{3,20}(?:[ -][a-z]{1,20}){0,5}\)$",
    re.DOTALL,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s+[\"'(]?[A-Z])")
_BETWEEN_BOXES = re.compile(r"\}\$?\s{0,3}(?:,\s{0,3}and|,|and|or)\s{0,3}\$?\\boxed\{")
_MAX_BOXES = 16
_MATH_DELIMITERS = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))
_MAX_TAIL = 20_000
_MAX_BOXED = 200_000
_PLAIN_DIGITS = 18


def extract_fixed(text: str, source: AnswerStyle) -> str | None:
    """Give the text of the final answer, freed of delimiters and trailing prose, None where there is none.

    The last `The answer is:` counts; without one the last box; without one the last `####`; without that
    the last `the answer is` or `the value of x is`, which solutions also say in passing.
    """
    tail = _tail(text)
    if tail is None:
        return _unmarked(text)
    tail = tail.strip()
    if len(tail) <= _PLAIN_DIGITS and tail.isdigit():
        return tail
    return _clean(tail[:_MAX_TAIL]) or None


def _tail(text: str) -> str | None:
    """Give what follows the last marker, the usual spelling found without a regular expression."""
    _, marker, tail = text.rpartition(_MARKER)
    if len(tail) <= _MAX_TAIL and ("nswer" in tail or "NSWER" in tail):
        last = _last_match(_ANY_MARKER, tail)
        tail = tail[last.end() :] if last else tail
        return tail if marker or last else None
    return tail if marker else None


def _last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    last = None
    for match in pattern.finditer(text):
        last = match
    return last


def _unmarked(text: str) -> str | None:
    """Give the last box, else what follows the last `####`, else what is said in passing."""
    boxed = find_boxed(text[-_MAX_BOXED:])
    if boxed is not None:
        return boxed or None
    text = text[-_MAX_TAIL:]
    _, marker, tail = text.rpartition(_HASHES)
    if not marker:
        last = _last_match(_IN_PASSING, text)
        tail = text[last.end() :] if last else ""
    return _clean(tail) or None


def _clean(tail: str) -> str:
    """Cut the answer out of what follows the marker."""
    answer = _first_block(tail.strip())
    if "\\boxed" in answer or "\\fbox" in answer:
        boxed = _joined_boxes(answer) or find_boxed(answer)
        if boxed:
            return boxed
    answer = _strip_emphasis(answer).removeprefix("=").lstrip()
    answer = _math_span(answer) or _first_sentence(answer)
    return answer.strip().removesuffix("**").removesuffix("__").strip()


def _joined_boxes(answer: str) -> str | None:
    """Give `\\boxed{1}$ and $\\boxed{2}$` as `1, 2`: the last alone would be half of the answer."""
    parts = _BETWEEN_BOXES.split(answer, maxsplit=_MAX_BOXES)
    if len(parts) == 1:
        return None
    boxes = [parts[0] + "}", *("\\boxed{" + part + "}" for part in parts[1:-1]), "\\boxed{" + parts[-1]]
    contents = [find_boxed(box) for box in boxes]
    return ", ".join(content for content in contents if content) if all(contents) else None


def _first_block(text: str) -> str:
    """Give the first line, and those after it for as long as a brace or environment is open."""
    position = text.find("\n")
    while position >= 0:
        block = text[:position]
        if _balanced(block):
            return block.strip()
        position = text.find("\n", position + 1)
        if position > 2_000:
            return block.strip()
    return text


def _balanced(block: str) -> bool:
    if block.count("\\begin") > block.count("\\end") or block.count("{") > block.count("}"):
        return False
    if block.count("\\[") > block.count("\\]") or block.count("\\(") > block.count("\\)"):
        return False
    return block.count("$$") % 2 == 0


def _strip_emphasis(text: str) -> str:
    """Drop Markdown's stars, backticks and underscores around the whole answer."""
    text = text.strip()
    for mark in ("**", "__", "`", "*"):
        if text.startswith(mark):
            closing = text.find(mark, len(mark))
            if closing > 0:
                text = text[len(mark) : closing] + text[closing + len(mark) :]
    return text.strip()


def _math_span(text: str) -> str | None:
    """Give the inside of the math delimiters that the answer starts with, its unit after it included."""
    for opening, closing in _MATH_DELIMITERS:
        if not text.startswith(opening):
            continue
        end = _closing_delimiter(text, closing, len(opening))
        if end < 0 or (opening == "$" and text[1:end].strip() == ""):
            return None
        return _joined_spans(text, end + len(closing), text[len(opening) : end], opening, closing)
    return None


def _closing_delimiter(text: str, closing: str, start: int) -> int:
    end = text.find(closing, start)
    while end > 0 and closing[0] == "$" and text[end - 1] == "\\":
        end = text.find(closing, end + 1)
    return end


_JOIN = re.compile(r"\s*(?:,\s*and|,|and|or)\s*")
_UNIT_AFTER = re.compile(r"\s*+([A-Za-z%°][A-Za-z%°²³/]*+)\s*+\.?\s*+$")


def _joined_spans(text: str, position: int, first: str, opening: str, closing: str) -> str:
    """Add the spans that `and`, `or` or a comma joins to the first: `$1$ and $2$` is `1, 2`."""
    spans = [first]
    while (join := _JOIN.match(text, position)) and text.startswith(opening, join.end()):
        end = _closing_delimiter(text, closing, join.end() + len(opening))
        if end < 0:
            break
        spans.append(text[join.end() + len(opening) : end])
        position = end + len(closing)
    if len(spans) == 1 and (unit := _UNIT_AFTER.match(text, position)):
        return first + " " + unit[1]
    return ", ".join(spans)


def _first_sentence(text: str) -> str:
    match = _SENTENCE_END.search(text)
    answer = text[: match.start()] if match and _balanced(text[: match.start()]) else text
    reason = _REASON.search(answer)
    answer = answer[: reason.start()] if reason else answer
    return answer.rstrip().rstrip(".!?;,:").rstrip() if not answer.endswith("\\!") else answer
