"""Bring the surface of an answer to one form: Unicode, LaTeX layout, thousands separators."""

import re
import unicodedata

from metamath_ray.answers._boxed import find_closing_brace

_UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "－": "-",
        "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ", "∙": "\\cdot ", "÷": "/", "∕": "/", "⁄": "/",
        "π": "\\pi ", "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ", "√": "\\sqrt ", "∞": "\\infty ",
        "°": "^\\circ ", "º": "^\\circ ", "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "±": "\\pm ",
        "∓": "\\mp ", "∪": "\\cup ", "∈": "\\in ", "∅": "\\emptyset ", "≈": "\\approx ",
        "⁰": "^{0}", "¹": "^{1}", "²": "^{2}", "³": "^{3}", "⁴": "^{4}", "⁵": "^{5}", "⁶": "^{6}",
        "⁷": "^{7}", "⁸": "^{8}", "⁹": "^{9}", "½": "\\frac{1}{2}", "⅓": "\\frac{1}{3}",
        "⅔": "\\frac{2}{3}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}", "⅛": "\\frac{1}{8}",
        "⅕": "\\frac{1}{5}", "’": "'", "‘": "'", "“": '"', "”": '"', "\u00a0": " ",
    }
)  # fmt: skip
_ROOT_OF_DIGITS = re.compile(r"√\s*(\d+)")

_SEPARATORS = re.compile(r"(?<=\d)(?:,\s*\\!|\\!,|\{,\}|\\,|,\\,|,\\ |\\ |\\;)\s*(?=\d{3}(?!\d))")
_NEGATIVE_SPACE = re.compile(r"(?<=\d)\\!(?=\d)")
_SPACED_GROUPS = re.compile(r"(?<![\d.,/^_}])\d{1,3}(?: \d{3})+(?![\d/])")
_LAYOUT = re.compile(
    r"\\(?:left|right|bigl?|bigr|Bigl?|Bigr|biggl?|biggr|displaystyle|textstyle|limits|nolimits|quad|qquad"
    r"|thinspace|medspace|hfill|protect|ensuremath|boldmath)(?![A-Za-z])|(?<!\\)\\[!,;:> ]|~"
)
_NAMES = {
    "dfrac": "\\frac", "tfrac": "\\frac", "cfrac": "\\frac", "dbinom": "\\binom", "tbinom": "\\binom",
    "leq": "\\le", "leqslant": "\\le", "geq": "\\ge", "geqslant": "\\ge", "neq": "\\ne", "lt": "<",
    "gt": ">", "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]", "lvert": "|",
    "rvert": "|", "vert": "|", "mid": "|", "land": ",", "lor": ",", "degree": "^\\circ", "degrees": "^\\circ",
    "ast": "*", "colon": ":", "lparen": "(", "rparen": ")", "varnothing": "\\emptyset", "infin": "\\infty",
    "textdollar": "\\$", "dots": "\\ldots", "cdots": "\\ldots", "dotsc": "\\ldots", "div": "/",
    "mathrm": "\\text", "textrm": "\\text", "mbox": "\\text", "textnormal": "\\text", "textbf": "\\text",
    "textit": "\\text", "operatorname": "\\text", "hbox": "\\text", "textup": "\\text", "rm": "\\text",
    "mathbf": "", "boldsymbol": "", "bm": "", "mathit": "", "bold": "", "mathsf": "", "mathtt": "",
    "tan": "\\tan", "arcsin": "\\arcsin",
}  # fmt: skip
_NAMED = re.compile(r"\\(" + "|".join(sorted(_NAMES, key=len, reverse=True)) + r")(?![A-Za-z])")
_DEGREE = re.compile(r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![A-Za-z])|\^\s*\{\s*o\s*\}")
_AROUND = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"))
_SPACES = re.compile(r"\s+")
_SPACE_THAT_DIVIDES_NOTHING = re.compile(r"(?<!\d) | (?!\d)")
_TIMES_TEN = re.compile(r"(?<=\d) ?[xX] ?(?=10 ?\^)")


def tidy(text: str) -> str:
    """Give the answer with one spelling of each symbol, no layout commands, single spaces.

    Its value is unchanged; what it looks like on paper too.
    """
    if not text.isascii():
        text = _plain_characters(text)
    if "\\" in text or "~" in text or "{" in text:
        text = _plain_latex(text)
    text = _SPACES.sub(" ", text).strip()
    if " " in text:
        text = _SPACED_GROUPS.sub(lambda match: match[0].replace(" ", ""), text)
    if "/-" in text or "^" in text:
        text = _TIMES_TEN.sub(r" \\times ", text.replace("+/-", "\\pm "))
    return _trimmed(text)


def squash(text: str) -> str:
    """Give tidied text without spaces, but between two digits: `1 1/2` is not `11/2`."""
    text = _SPACE_THAT_DIVIDES_NOTHING.sub("", text) if " " in text else text
    return text.replace("^{\\circ}", "^\\circ") if "^" in text else text


def _plain_characters(text: str) -> str:
    text = _ROOT_OF_DIGITS.sub(r"\\sqrt{\1}", text).translate(_UNICODE)
    if text.isascii():
        return text
    return "".join(map(_plain_character, text))


def _plain_character(character: str) -> str:
    """Give the compatible plain form; any script's decimal digit as ASCII, marks and controls as nothing."""
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category in {"Cf", "Cc", "Mn"}:
        return " " if character in "\n\t" else ""
    return unicodedata.normalize("NFKC", character)


def _plain_latex(text: str) -> str:
    text = _NEGATIVE_SPACE.sub("", _SEPARATORS.sub("", text)).replace("{,}", ",")
    text = _NAMED.sub(lambda match: _NAMES[match[1]], text)
    text = _LAYOUT.sub(" ", text)
    text = _DEGREE.sub(r"^\\circ ", text)
    return _without_phantoms(text.replace("\\text{\\$}", "\\$"))


def _without_phantoms(text: str) -> str:
    text = re.sub(r"\\phantom\s*[-+]", "", text) if "\\phantom" in text else text
    for name in ("\\phantom{", "\\hspace{", "\\vspace{"):
        for _ in range(8):
            start = text.find(name)
            if start < 0:
                break
            end = find_closing_brace(text, start + len(name) - 1)
            if end < 0:
                break
            text = text[:start] + text[end + 1 :]
    return text


def _without_braces(text: str) -> str:
    """Drop a pair of braces around the whole: they group and print nothing."""
    return text[1:-1].strip() if find_closing_brace(text, 0) == len(text) - 1 else text


def _trimmed(text: str) -> str:
    """Drop dollar signs around the whole and punctuation after it."""
    for _ in range(4):
        before = text
        for opening, closing in _AROUND:
            if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening):
                text = text[len(opening) : -len(closing)].strip()
        text = _without_braces(text) if text[:1] == "{" else text
        text = "" if text == "$" else text
        if text and text[-1] in ".;:,":
            text = text[:-1].rstrip()
        text = text.removesuffix("\\\\").rstrip()
        if text == before:
            break
    return text
