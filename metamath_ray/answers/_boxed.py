"""Find LaTeX boxes and balanced braces in linear time, without recursion."""

import re

_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[^\s$]+", re.DOTALL)
_BOX_NAMES = ("\\boxed", "\\fbox")


def find_closing_brace(text: str, opening: int) -> int:
    """Give the index of the brace that closes the one at `opening`, -1 where none does.

    Escaped braces (`\\{`) do not count.
    """
    depth = 0
    for match in _BRACE.finditer(text, opening):
        symbol = match[0]
        if symbol == "{":
            depth += 1
        elif symbol == "}":
            depth -= 1
            if depth == 0:
                return match.start()
    return -1


def find_boxed(text: str) -> str | None:
    """Give the content of the last complete `\\boxed{…}` or `\\fbox{…}`, None where there is none.

    A box inside that box is opened too (`\\boxed{\\boxed{3}}` gives `3` only if it is the whole content).
    `\\boxed 5` gives what follows up to the next space or `$`.
    """
    end = len(text)
    for _ in range(8):  # a hostile text of a million open boxes must not cost a million scans
        start = max(text.rfind(name, 0, end) for name in _BOX_NAMES)
        if start < 0:
            return None
        content = _box_content(text, start)
        if content is not None:
            outer = _enclosing(text, start)
            return _unbox(content if outer is None else outer)
        end = start
    return None


def _enclosing(text: str, inner: int) -> str | None:
    """Give the content of the box that directly holds the box at `inner`, if one does."""
    start = max(text.rfind(name, 0, inner) for name in _BOX_NAMES)
    if start < 0:
        return None
    match = _BOX.match(text, start)
    if match is None or match.end() >= len(text) or text[match.end()] != "{":
        return None
    closing = find_closing_brace(text, match.end())
    return text[match.end() + 1 : closing] if closing > inner else None


def _box_content(text: str, start: int) -> str | None:
    match = _BOX.match(text, start)
    if match is None:
        return None
    begin = match.end()
    if begin < len(text) and text[begin] == "{":
        closing = find_closing_brace(text, begin)
        return text[begin + 1 : closing] if closing > 0 else None
    symbol = _TOKEN.match(text, begin)
    return symbol[0] if symbol else None


def _unbox(content: str) -> str:
    """Strip boxes that are the whole content: `\\boxed{3}` inside a box is `3`."""
    for _ in range(64):
        stripped = content.strip()
        match = _BOX.match(stripped)
        if match is None or match.end() >= len(stripped) or stripped[match.end()] != "{":
            return stripped
        if find_closing_brace(stripped, match.end()) != len(stripped) - 1:
            return stripped
        content = stripped[match.end() + 1 : -1]
    return content.strip()
