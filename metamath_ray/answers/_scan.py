"""Cut an answer at separators that stand outside all brackets and braces."""

import re
from collections.abc import Iterator

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[()\[\]{}]|[^\\()\[\]{}]", re.DOTALL)
_OPENING = frozenset({"(", "[", "{", "\\{", "\\langle", "\\begin"})
_CLOSING = frozenset({")", "]", "}", "\\}", "\\rangle", "\\end"})


def top_level(text: str) -> Iterator[tuple[int, str]]:
    """Give the position and text of each symbol outside all brackets; `[1, 2)` counts as closed."""
    depth = 0
    for match in _TOKEN.finditer(text):
        symbol = match[0]
        if symbol in _OPENING:
            depth += 1
        elif symbol in _CLOSING:
            depth -= 1
        elif depth == 0:
            yield match.start(), symbol


def split_at(text: str, separators: frozenset[str]) -> list[str]:
    """Cut at every separator symbol outside brackets; the pieces are stripped."""
    pieces, start = [], 0
    for position, symbol in top_level(text):
        if symbol in separators:
            pieces.append(text[start:position].strip())
            start = position + len(symbol)
    pieces.append(text[start:].strip())
    return pieces


def enclosed(text: str) -> bool:
    """Tell whether the first bracket closes at the last: true for `(1, 2]`, false for `(1)(2)`."""
    depth = 0
    for match in _TOKEN.finditer(text):
        symbol = match[0]
        if symbol in _OPENING:
            depth += 1
        elif symbol in _CLOSING:
            depth -= 1
            if depth == 0:
                return match.end() == len(text)
        if depth == 0:
            return False
    return False
