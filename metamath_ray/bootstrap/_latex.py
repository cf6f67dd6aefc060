"""Where a MATH question is LaTeX: formulas, figures, and the parts that hold no quantity."""

import re
from collections.abc import Iterator

Span = tuple[int, int]

FIGURE = re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)", re.DOTALL | re.IGNORECASE)
_FORMULA = re.compile(
    r"""
      \$\$ (?:\\.|[^$\\])* \$\$
    | \$ (?:\\.|[^$\\])* \$
    | \\\[ .*? \\\]
    | \\\( .*? \\\)
    | \\begin\{(?P<env>(?:align|equation|gather|eqnarray|multline|displaymath)\*?)\} .*? \\end\{(?P=env)\}
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\[^\[\](){}A-Za-z]")
_TABLE = re.compile(
    r"\\begin\{(?P<env>[pbvBV]?matrix\*?|smallmatrix|cases|array|tabular[x*]?)\}.*?(?:\\end\{(?P=env)\}|\Z)",
    re.DOTALL,
)
_LAYOUT = re.compile(
    r"\\(?:hskip|kern|mskip|mkern|vskip)\s*-?[\d.]+[a-z]*"
    r"|\\\\\s*\[[^\]]*\]"
    r"|\\(?:hspace|vspace|rule|phantom|hphantom|vphantom|color|textcolor|label|tag|ref|begin|end)\*?\{[^{}]*\}"
)
_REPEATING = re.compile(r"\\(?:overline|underline|bar|dot|ddot|widehat|boxed)\s*(?=\{|\d)")
_TEXT = re.compile(r"\\(?:text|mbox|textrm|mathrm|textbf|textit|operatorname|mathbf|textnormal)\s*(?=\{)")
_SCRIPT = re.compile(r"(?<!\\)[\^_]\s*")
_ROOT_INDEX = re.compile(r"\\sqrt\s*\[[^\]]*\]")
_COMMAND = re.compile(r"\\[A-Za-z]+|\\.", re.DOTALL)


def find_figures(text: str) -> list[Span]:
    """Give the spans of Asymptote figures; one that is never closed reaches the end."""
    return [match.span() for match in FIGURE.finditer(text)]


def find_formulas(text: str) -> list[Span]:
    r"""Give the spans of formulas with their delimiters, figures apart; `\$` is an amount of money."""
    hidden = blank(text, find_figures(text))
    spans: list[Span] = []
    position = 0
    while position < len(hidden):
        match = _FORMULA.match(hidden, position) or _ESCAPED.match(hidden, position)
        if match is None:
            position += 1
            continue
        if match.re is _FORMULA:
            spans.append(match.span())
        position = match.end()
    return spans


def find_excluded(text: str) -> list[Span]:
    """Give the spans whose digits are no quantity.

    Figures, tables, matrices, case distinctions, exponents, indices, words inside formulas,
    repeating decimals and lengths of the layout.
    """
    spans = find_figures(text)
    for pattern in (_TABLE, _LAYOUT, _ROOT_INDEX):
        spans += [match.span() for match in pattern.finditer(text)]
    for pattern in (_REPEATING, _TEXT, _SCRIPT):
        spans += [(match.start(), end_of_argument(text, match.end())) for match in pattern.finditer(text)]
    return spans


def end_of_argument(text: str, start: int) -> int:
    """Give where the LaTeX argument that begins at `start` ends: a group, a command, or one character."""
    if text[start : start + 1] == "{":
        return _end_of_group(text, start)
    command = _COMMAND.match(text, start)
    if command is None:
        return min(start + 1, len(text))
    end = command.end()
    while text[end : end + 1] == "{":
        end = _end_of_group(text, end)
    return end


def blank(text: str, spans: list[Span], filler: str = " ") -> str:
    """Give the text with the spans overwritten; every other code point keeps its place."""
    for start, end in spans:
        text = text[:start] + filler * (end - start) + text[end:]
    return text


def strip_commands(formula: str) -> str:
    r"""Give the formula without command names and environments, so that what letters remain are variables."""
    return _COMMAND.sub(" ", re.sub(r"\\(?:begin|end)\{[^{}]*\}", " ", formula))


def inside(position: int, spans: list[Span]) -> bool:
    """Tell whether the code point at `position` lies in one of the spans."""
    return any(start <= position < end for start, end in spans)


def iter_groups(text: str) -> Iterator[Span]:
    """Give the spans of balanced brace groups, inner ones first."""
    opened: list[int] = []
    for position, character in _braces(text):
        if character == "{":
            opened.append(position)
        elif opened:
            yield opened.pop(), position + 1


def _end_of_group(text: str, start: int) -> int:
    depth = 0
    for position, character in _braces(text[start:]):
        depth += 1 if character == "{" else -1
        if depth == 0:
            return start + position + 1
    return len(text)


def _braces(text: str) -> Iterator[tuple[int, str]]:
    for match in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if match.group() in "{}":
            yield match.start(), match.group()
