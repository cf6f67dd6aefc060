"""Numbers of MATH's questions that are one clear quantity: in the prose and in the formulas."""

import re
from collections.abc import Iterator

from ._latex import blank, find_excluded, find_figures, find_formulas, inside
from ._mask import Number
from ._masking_gsm import find_prose_numbers

_ORDINAL_AFTER = re.compile(r"(?:[\s$~}{-]|\\?\^|\\(?:text|mathrm|textrm|mbox)\b)*(?:st|nd|rd|th)\b")
_GROUP = r"(?:\{\s*\d+\s*\}|\d)"
_FRACTION = rf"\\[dtc]?frac\s*{_GROUP}\s*{_GROUP}"
_POWER = r"\d+(?:\.\d+)?\s?\^\s?(?:\{\s*-?\d+\s*\}|\d)"
_THOUSANDS = r"\d{1,3}(?:(?:,|\{,\}|\\?,\\!|\\,)\d{3})+(?!\d)(?:\.\d+)?"
_TOKEN = re.compile(
    rf"(?P<mixed>\d+\s?{_FRACTION})"
    rf"|(?P<fraction>{_FRACTION}|\d+/\d+(?!\d*[/.]))"
    rf"|(?P<power>{_POWER})"
    rf"|(?P<thousands>{_THOUSANDS})"
    rf"|(?P<decimal>\d*\.\d+)"
    rf"|(?P<integer>\d+)"
)
_REFUSED_BEFORE = re.compile(
    r"""(?:
        [\w.}/] | \d\s?:\s?
      | \\[A-Za-z]+ | \\[dtc]?frac\s+ | \\sqrt\s+
      | \([A-E]\)[\s}~$\\!,:;]*                 # an option to choose from
    )\Z""",
    re.VERBOSE,
)
_REFUSED_AFTER = re.compile(
    r"""(?:
        \d | \.\d | /\d
      | \s?_                                   # 1011_2, a base
      | \s?\^ (?! \s?(?:\\circ|\{\s*\\circ\s*\}))  # 2^n; 45^\circ is an angle
      | \.?\\(?:overline|dot|bar)              # 0.\overline{57}
      | (?:\.\.|\\[lc]?dots)                   # 0.333...
      | \s?:\s?\d
    )""",
    re.VERBOSE,
)


def find_math_numbers(question: str) -> list[Number]:
    """Give the numbers of a MATH question that are one clear quantity, in order of position.

    In formulas powers of numbers and fractions of numbers count whole. Refused besides what
    `find_prose_numbers` refuses: everything of `find_excluded`, digits right behind a command
    (the variable would run into its name), bases of symbolic powers, digits of another base.
    Empty where the `$` do not pair.
    """
    formulas = find_formulas(question)
    outside = blank(question, [*formulas, *find_figures(question)], "§")
    if re.search(r"(?<!\\)\$", outside):
        return []
    excluded = find_excluded(question)
    prose = find_prose_numbers(_show_signs(question, outside))
    found = [*prose, *(number for span in formulas for number in _find_in_formula(question, *span))]
    return sorted(
        n for n in found if not _is_excluded(n, excluded) and not _ORDINAL_AFTER.match(question, n.end)
    )


def _show_signs(question: str, prose: str) -> str:
    r"""Give MATH's prose with plain signs of money and percent for `\$`, `$\$$` and `\%`, lengths kept."""
    for match in re.finditer(r"\$\\\$\$", question):
        prose = prose[: match.start()] + "   $" + prose[match.end() :]
    return re.sub(r"\\([$%])", r" \1", prose)


def _find_in_formula(question: str, start: int, end: int) -> Iterator[Number]:
    for match in _TOKEN.finditer(question, start, end):
        before, after = question[max(start, match.start() - 30) : match.start()], question[match.end() : end]
        kind = str(match.lastgroup)
        if kind == "thousands" and _in_brackets(question[start : match.start()]):
            continue  # {100,200,300} is a set
        if _REFUSED_BEFORE.search(before) or _REFUSED_AFTER.match(after):
            continue
        yield Number(*match.span(), clean_latex_number(match.group()), _kind_in_place(kind, before, after))


def clean_latex_number(latex: str) -> str:
    """Give the number without thousands separators and outer blanks, 0 before a leading point."""
    value = re.sub(r"(?<=\d)(?:\{,\}|\\?,\\!|\\,|,)(?=\d{3})", "", latex).strip()
    return "0" + value if value.startswith(".") else value


def _kind_in_place(kind: str, before: str, after: str) -> str:
    if before.endswith("\\$"):
        return "currency"
    if after.startswith("\\%"):
        return "percent"
    return "angle" if re.match(r"\s?\^", after) else kind


def _in_brackets(text: str) -> bool:
    depth = 0
    for match in re.finditer(r"\\[{}]|[()\[\]]", text):
        depth += 1 if match.group()[-1] in "([{" else -1
    return depth > 0


def _is_excluded(number: Number, excluded: list[tuple[int, int]]) -> bool:
    if number.kind == "power":  # its own exponent is part of it
        return inside(number.start, excluded)
    return any(start < number.end and number.start < end for start, end in excluded)
