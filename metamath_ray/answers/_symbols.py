"""Cut an expression into numbers, commands, letters and signs."""

import re

MAX_LENGTH = 600
_TOKEN = re.compile(
    r"\s*(?:((?:\d+(?:\.\d+)?|\.\d+)[eE]\d{1,3}(?!\d)|\d+(?:\.\d+|\.(?=\\overline))?|\.\d+)|(\\[A-Za-z]+)|(?<![A-Za-z])(sqrt|pi|sin|cos|tan|ln|log|infinity|inf|oo)(?![A-Za-z])"
    r"|([A-Za-z])|(\*\*|[-+*/^_()\[\]{}|!']))",
    re.ASCII,
)
_NAMES_GROUP = 3
_WORDS = {"pi": "\\pi", "infinity": "\\infty", "inf": "\\infty", "oo": "\\infty", "**": "^"}


class NotAnExpression(ValueError):  # noqa: N818 - a condition of the input, not a fault of ours
    """The text is no expression that this parser knows."""


def split_symbols(text: str) -> list[str]:
    """Give the symbols in order; `2e3` is one number; plain `sqrt`, `pi`, `sin` become commands, `**` becomes `^`.

    Raises:
        NotAnExpression: too long, or a character that no expression has.
    """
    if len(text) > MAX_LENGTH:
        raise NotAnExpression("too long")
    symbols: list[str] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise NotAnExpression(f"unexpected {text[position]!r}")
        symbol = match[match.lastindex or 0]
        named = "\\" + symbol if match.lastindex == _NAMES_GROUP else symbol
        symbols.append(_WORDS.get(symbol, named))
        position = match.end()
    return symbols
