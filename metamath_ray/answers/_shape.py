"""Read a tidied answer into a shape: words, number, bracketed tuple, list, matrix, relation."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from metamath_ray.answers._boxed import find_closing_brace
from metamath_ray.answers._expression import Node, parse_expression
from metamath_ray.answers._scan import enclosed, split_at, top_level
from metamath_ray.answers._symbols import NotAnExpression
from metamath_ray.answers._units import Unit, peel_percent, peel_unit

_MAX_ITEMS = 64
_MAX_DEPTH = 6


@dataclass(frozen=True, slots=True)
class Words:
    """A text answer: `Saturday`, a choice letter, a clock time."""

    text: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number or expression; `tree` is None where the parser does not know it."""

    text: str
    tree: Node | None
    unit: Unit | None = None
    percent: bool = False
    base: str = ""


@dataclass(frozen=True, slots=True)
class Bracketed:
    """Items in order between brackets: a tuple, a point, an interval."""

    opening: str
    closing: str
    items: tuple["Shape", ...]


@dataclass(frozen=True, slots=True)
class Items:
    """Items in any order: a list, a set in braces, a union of intervals."""

    kind: Literal["list", "set", "union"]
    items: tuple["Shape", ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Cells by row."""

    rows: tuple[tuple["Shape", ...], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """Sides joined by signs, one sign fewer than sides: `x = 3`, `1 < x \\le 2`."""

    sides: tuple[Scalar, ...]
    signs: tuple[str, ...]


Shape = Words | Scalar | Bracketed | Items | Matrix | Relation

_COMMA = frozenset({",", ";"})
_UNION = frozenset({"\\cup"})
_SIGNS = frozenset({"=", "<", ">", "\\le", "\\ge", "\\ne", "\\neq", "\\equiv"})
_AND = re.compile(
    r"\s*,?\s*(?:\\text\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))\s*", re.IGNORECASE
)
_MEMBER = re.compile(r"^[A-Za-z]\s*\\in(?![A-Za-z])\s*")
_NAMED = re.compile(
    r"(?:\([A-Za-z](?:, ?[A-Za-z])+\)|\{?[A-Za-z]\}?(?:_\w|\^\{?-1\}?)?|\\[a-z]+) ?= ?(?=[(\[\\])"
)
_GROUPED = re.compile(r"(?<![\w,.\-+\\}])[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?(?!\d|,\S)", re.ASCII)
_CHOICE = re.compile(r"^\(?\s*([A-Za-z])\s*\)$")
_LEADING_WORDS = re.compile(r"^(?:it is |on |the )+(?=[A-Za-z])", re.IGNORECASE)
_PLAIN_WORDS = re.compile(r"[A-Za-z][a-z]{2,}(?:[ -][A-Za-z]+)*|(?:[A-Za-z]+ )+[A-Za-z]{3,}")
_MATH_WORDS = frozenset(["sqrt", "pi", "sin", "cos", "tan", "log", "ln", "infinity", "inf", "abc", "xyz"])
_COLONS = re.compile(r"\d+(?:\s*:\s*\d+)+(?:\s*(?:\\text\s*\{)?\s*[AaPp]\.?\s?[Mm]\.?\s*\}?)?")
_WORD_FIRST = re.compile(r"(?!USD)[A-Za-z]{3,}[A-Za-z .,'-]* \d+")
_ABOUT = re.compile(r"\s*\\approx(?![A-Za-z])\s*")
_BASED = re.compile(
    r"(-?[0-9A-Fa-f]+(?:\.[0-9A-Fa-f]+)?)\s*_\s*(?:\{\s*(?:\\text\s*\{)?\s*(\w+)\s*\}?\s*\}|(\d|[a-z]{3,7}))"
)
_BASE_AFTER = re.compile(
    r"(-?[0-9A-F]+)\s*(?:_\s*\{?\d+\}?\s*)?(?:\\text\s*\{)?[ (]*(?:in )?base[ -]?(\w+)[ )}]*", re.IGNORECASE
)
_BASE_WORDS = {"two": "2", "three": "3", "eight": "8", "ten": "10", "sixteen": "16"}
_TEXT_DIGITS = re.compile(r"\\text\s*\{\s*(\w+)\s*\}")
_MATRIX = re.compile(
    r"\\begin\s*\{([pbBvV]?matrix|smallmatrix|array)\}(?:\s*\{[lcr|\s]*\})?(.*)\\end\s*\{\1\}", re.DOTALL
)
_ASSIGNED = re.compile(
    r"^[A-Za-z](?:_\{?\w+\}?)?$|^[A-Za-z]+\s*\([^()]*\)$|^\\[a-z]+$|^\\text\s*\{[^{}]*\}$|^[A-Za-z][A-Za-z ]*$"
)


@lru_cache(maxsize=8_192)
def read_shape(text: str) -> Shape:
    """Give the shape of a tidied answer of at most a few hundred characters. Never raises."""
    return _read(text, 0)


def _read(text: str, depth: int) -> Shape:
    text = text.strip()
    if depth > _MAX_DEPTH:
        return Scalar(text, None)
    opened = _opened(text)
    if opened != text and len(opened) == 1 and opened.isalpha():
        return Words(opened)
    text = _before_approximation(opened) if "\\approx" in opened else opened
    if words := _as_words(text):
        return words
    if depth == 0:
        text = _unnamed(text)
    return (
        _read_matrix(text, depth)
        or _read_items(text, depth)
        or _read_relation(text)
        or _read_single(text, depth)
    )


def _unnamed(text: str) -> str:
    """Drop `x \\in` before an interval, `(x, y) =` or `v =` before a tuple, set or matrix."""
    if member := _MEMBER.match(text):
        return text[member.end() :]
    named = _NAMED.match(text)
    rest = text[named.end() :] if named else ""
    return rest if ("," in rest and enclosed(rest)) or _MATRIX.fullmatch(rest) else text


def _opened(text: str) -> str:
    """Take off a `\\text{…}` around the whole."""
    for _ in range(3):
        if not text.startswith("\\text"):
            break
        opening = text.find("{")
        if opening < 0 or text[5:opening].strip() or find_closing_brace(text, opening) != len(text) - 1:
            break
        text = text[opening + 1 : -1].strip().rstrip(".")
    return text


def _before_approximation(text: str) -> str:
    """Give the exact side of `2/3 \\approx 0.67`; after a mere name or nothing, the other side."""
    exact, *others = _ABOUT.split(text)
    return others[0] if len(exact) < 2 and others else exact


def _as_words(text: str) -> Words | None:
    choice = _CHOICE.match(text)
    if choice:
        return Words(choice[1])
    text = _LEADING_WORDS.sub("", text)
    if _PLAIN_WORDS.fullmatch(text) and text.lower() not in _MATH_WORDS and not _AND.search(text):
        return Words(" ".join(text.lower().split()))
    if _WORD_FIRST.fullmatch(text):
        return Words(text)
    if ":" in text and _COLONS.fullmatch(text):
        return Words(re.sub(r"\\text|[.\s{}]", "", text.lower()))
    return None


def _read_matrix(text: str, depth: int) -> Matrix | None:
    if "\\begin" not in text:
        return None
    match = _MATRIX.fullmatch(text)
    if match is None or match[1] in ("vmatrix", "Vmatrix") or "\\begin" in match[2]:
        return None
    lines = [line for line in re.split(r"\\\\(?:\s*\[[^\]]*\])?", match[2]) if line.strip()]
    if not lines or len(lines) > _MAX_ITEMS:
        return None
    return Matrix(tuple(tuple(_read(cell, depth + 1) for cell in line.split("&")) for line in lines))


def _read_items(text: str, depth: int) -> Shape | None:
    pieces = split_at(text, _UNION) if "\\cup" in text else [text]
    if 1 < len(pieces) <= _MAX_ITEMS:
        return Items("union", tuple(_read(piece, depth + 1) for piece in pieces))
    if text.startswith("\\{") and text.endswith("\\}") and enclosed(text):
        inner = text[2:-2].strip()
        return Items(
            "set", tuple(_read(piece, depth + 1) for piece in split_at(inner, _COMMA)) if inner else ()
        )
    if text in ("\\emptyset", "\\{\\}"):
        return Items("set", ())
    pieces = _list_pieces(text)
    if 1 < len(pieces) <= _MAX_ITEMS:
        return Items("list", tuple(_flat([_read(piece, depth + 1) for piece in pieces])))
    return _read_signs(text, depth)


def _list_pieces(text: str) -> list[str]:
    """Cut a list at commas, semicolons, `and`, `or`; thousands separators stay: `1,234` is one number."""
    if "nd" in text or "or" in text.lower():
        text = _AND.sub(", ", text)
    if "," not in text and ";" not in text:
        return [text]
    grouped = [match.span() for match in _GROUPED.finditer(text)]
    pieces, start = [], 0
    for position, symbol in top_level(text):
        if symbol in _COMMA and not any(begin <= position < end for begin, end in grouped):
            pieces.append(text[start:position])
            start = position + 1
    pieces.append(text[start:])
    return [piece for piece in pieces if piece.strip()]


def _flat(items: list[Shape]) -> list[Shape]:
    nested = [item.items if isinstance(item, Items) and item.kind == "list" else (item,) for item in items]
    return [item for inner in nested for item in inner]


def _read_signs(text: str, depth: int) -> Items | None:
    """Read `a \\pm b` as two answers; with `\\mp` the signs go together."""
    if "\\pm" not in text and "\\mp" not in text:
        return None
    if text.count("\\pm") + text.count("\\mp") > 3 or (text[0] in "([" and enclosed(text)):
        return None
    texts = {text}
    if "\\mp" in text:
        texts = {text.replace("\\pm", a).replace("\\mp", b) for a, b in (("+", "-"), ("-", "+"))}
    while any("\\pm" in item for item in texts):
        texts = {item.replace("\\pm", sign, 1) for item in texts for sign in "+-"}
    return Items("list", tuple(_read(item, depth + 1) for item in sorted(texts)))


def _read_relation(text: str) -> Relation | None:
    if not any(sign in text for sign in ("=", "<", ">", "\\le", "\\ge", "\\ne")):
        return None
    sides, signs, start = [], [], 0
    for position, symbol in top_level(text):
        if symbol in _SIGNS:
            sides.append(text[start:position].strip())
            signs.append("\\ne" if symbol == "\\neq" else symbol)
            start = position + len(symbol)
    if not signs or len(signs) > 8:
        return None
    sides.append(text[start:].strip())
    return Relation(tuple(read_scalar(side) for side in sides), tuple(signs))


def _read_single(text: str, depth: int) -> Shape:
    if text[:1] in ("(", "[") and text[-1] in ")]" and enclosed(text):
        return _read_bracketed(text, depth)
    if text.startswith("\\langle") and text.endswith("\\rangle"):
        return Bracketed("(", ")", tuple(_read(p, depth + 1) for p in split_at(text[7:-7], _COMMA)))
    return read_scalar(text)


def _read_bracketed(text: str, depth: int) -> Shape:
    """Read a tuple or an interval; a bracket at infinity is round, whichever was written."""
    pieces = split_at(text[1:-1], _COMMA)
    if len(pieces) == 1:
        return _read(pieces[0], depth + 1) if text[0] == "(" and text[-1] == ")" else read_scalar(text)
    if len(pieces) > _MAX_ITEMS:
        return Scalar(text, None)
    opening = "(" if pieces[0].lstrip("-+ ") == "\\infty" else text[0]
    closing = ")" if pieces[-1].lstrip("+ ") == "\\infty" else text[-1]
    return Bracketed(opening, closing, tuple(_read(piece, depth + 1) for piece in pieces))


def read_scalar(text: str) -> Scalar:
    """Give a number or expression with its unit, percent sign or base taken off."""
    if "_" in text:
        text = _TEXT_DIGITS.sub(r"\1", text)
    if "base" in text and (after := _BASE_AFTER.fullmatch(text)):
        text = f"{after[1]}_{{{after[2]}}}"
    based = _BASED.fullmatch(text) if "_" in text and any(map(str.isdigit, text.partition("_")[0])) else None
    if based:
        base = (based[2] or based[3]).lower()
        return Scalar(text, None, base=f"{based[1].upper()}_{_BASE_WORDS.get(base, base)}")
    rest, percent = peel_percent(text)
    unit = None
    if not percent:
        rest, unit = peel_unit(text)
    rest = _GROUPED.sub(lambda match: match[0].replace(",", ""), rest) if "," in rest else rest
    tree = _tree(rest)
    if tree is None and unit is not None:
        return Scalar(text, _tree(text))
    return Scalar(rest.strip(), tree, unit, percent)


def _tree(text: str) -> Node | None:
    try:
        return parse_expression(text)
    except NotAnExpression:
        return None


def is_name(side: Scalar) -> bool:
    """Tell whether a relation's side only names what is asked for: `x`, `f(x)`, `\\text{Area}`."""
    return bool(_ASSIGNED.fullmatch(side.text)) or (side.unit is not None and not side.text)
