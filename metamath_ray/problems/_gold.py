"""The gold answer inside a published solution."""

import re

GSM8K_MARK = "#### "

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")


def extract_gold_gsm8k(answer: str) -> str | None:
    """What stands after the last `#### `, to the end of its line, without thousands separators.

    `None` where there is no `#### `; the empty string where nothing follows it.
    """
    _, mark, tail = answer.rpartition(GSM8K_MARK)
    if not mark:
        return None
    return _THOUSANDS.sub("", tail.partition("\n")[0].strip())


def extract_gold_math(solution: str) -> str | None:
    r"""What the last `\boxed{}`, `\fbox{}` or `\boxed x` holds, as it stands but for outer blanks.

    Braces are counted as TeX does, so that `\{` and `\}` are characters. Without braces the box
    reaches to the next `$`, or to the end of its line without its full stop (Hendrycks' rule).
    `None` where there is no box or its braces do not close; the empty string for an empty box.
    """
    boxes = list(_BOX.finditer(solution))
    if not boxes:
        return None
    tail = solution[boxes[-1].end() :]
    if tail.startswith("{"):
        return _inside_braces(tail)
    inline, dollar, _ = tail.partition("\n")[0].partition("$")
    return inline.strip() if dollar else inline.strip().removesuffix(".").rstrip()


def _inside_braces(text: str) -> str | None:
    depth = 0
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1  # the next character is escaped
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[1:position].strip()
        position += 1
    return None
