"""The end of a question that asks: what self-verification turns into a statement."""

import re
from collections.abc import Iterator

from metamath_ray.problems import Style

from ._latex import blank, find_figures, find_formulas

_TITLE = re.compile(
    r"(?:mr|mrs|ms|dr|st|prof|rev|gen|sen|rep|capt|lt|sgt|mt|jr|sr|vs|e\.g|i\.e|cf|fig|eq|viz)\Z",
    re.IGNORECASE,
)
# These end a sentence where a capital follows: "12 ft. How much", but "12 ft. 3 in."
_MAY_END = re.compile(
    r"(?:a\.m|p\.m|am|pm|etc|u\.s|u\.k|u\.s\.a|ft|lbs?|oz|in|hrs?|mins?|secs?|yds?|mi|km|cm|mm|kg|mph|sq|cu|no"
    r"|approx|inc|co|ltd|corp|dept|ave|blvd|rd|tbsp|tsp|pt|qt|gal|jan|feb|mar|apr|aug|sept?|oct|nov|dec)\Z",
    re.IGNORECASE,
)
_STARTER = re.compile(
    r"(?:how|what|if|when|which|who|where|why|find|compute|determine|calculate|evaluate|the|he|she|it|they|his"
    r"|her|their|on|in|at|after|each|then|for|one|there|this|that|these|those|but|and|so|given|let)\Z",
    re.IGNORECASE,
)
_INITIALS = re.compile(r"(?:[A-HJ-Z]|[A-Z](?:\.[A-Z])+)\Z")
_ASKS = re.compile(
    r"[\s\"'“(]*(?:How|What|Which|Who|Whose|Where|When|Why|Find|Compute|Determine|Calculate|Evaluate|Simplify"
    r"|Solve|Factor|Expand|Convert|Prove|Show|Describe|Name|Estimate|Rationalize|Identify|Tell|Write|List|Enter"
    r"|Classify|Suppose\s+you|Graph|Complete|Give|Express|State|Add|Subtract|Multiply|Divide)\b",
    re.IGNORECASE,
)
_FORMAT = re.compile(
    r"[\s\"'“(\[]*(?:Express\s+(?:your|the|all|each|both|it|this|in)\b|Enter\s+(?:your|the|all|each|an?|\W)"
    r"|Submit|Round|Give\s+your|Write\s+(?:your|the\s+(?:answer|numbers?))|Leave\s+your|List\s+(?:your|the\s+(?:answer|values?))"
    r"|State\s+your|Report|Type\s+your|Assume|Note|Hint|Remember|Recall|Do\s+not|Your\s+answer|The\s+answer|Answer"
    r"|If\s+(?:there\s+(?:is|are)\s+(?:more\s+than\s+one|no|multiple)|you\s+find|none|necessary|not\b|needed))",
    re.IGNORECASE,
)
_END = re.compile(r"[.?!]+[\"'”’)\]]*(?=\s|\Z|(?:How|What|If|Find|Which|The|He|She|Each|Express)\b)|\n\s*\n")


def split_last_sentence(question: str, *, style: Style) -> tuple[str, str]:
    r"""Give (context, last sentence); joined they are the question, blanks and all.

    The last sentence is the last that asks ("How many …?", "Find …"), with what follows it:
    instructions on the answer's form, notes, a figure. Where none asks it is the last one. Points
    in decimals, abbreviations, initials and formulas end nothing; a formula that closes with a
    point (`$x=5.$ Find`) does. `context` is empty for a question of one sentence.
    """
    starts = [start for start, _ in split_sentences(question, style=style)]
    if not starts:
        return "", question
    ends = [*starts[1:], len(question)]
    asking = [start for start, end in zip(starts, ends, strict=True) if _asks(question[start:end])]
    cut = asking[-1] if asking else starts[-1]
    if cut == starts[0]:
        cut = 0
    return question[:cut], question[cut:]


def split_sentences(text: str, *, style: Style) -> list[tuple[int, int]]:
    """Give the spans of the text's sentences without the blanks between; figures belong to none."""
    shadow = _shadow(text, style=style)
    spans: list[tuple[int, int]] = []
    start = 0
    for end in [*_iter_ends(shadow), len(shadow)]:
        sentence = shadow[start:end]
        if sentence.strip():
            spans.append((start + len(sentence) - len(sentence.lstrip()), start + len(sentence.rstrip())))
        start = end
    return spans


def strip_answer_format(last_sentence: str, *, style: Style) -> str:
    """Give the asking sentence alone, without figures, notes and instructions on the answer's form."""
    spans = split_sentences(last_sentence, style=style)
    kept = [
        last_sentence[start:end]
        for i, (start, end) in enumerate(spans)
        if i == 0 or not _FORMAT.match(last_sentence[start:end])
    ]
    return " ".join(kept) or last_sentence.strip()


def split_clause_paper(question: str) -> tuple[str, str]:
    """Give the question cut behind its last "." or ",", as the original did; the second part may be empty."""
    cut = max(question.rfind("."), question.rfind(",")) + 1
    return question[:cut], question[cut:]


def _asks(sentence: str) -> bool:
    if _FORMAT.match(sentence) and "?" not in sentence:
        return False
    return (
        "?" in sentence
        or _ASKS.match(sentence) is not None
        or re.search(
            r"(?:,|\b(?:and|then|to))\s+(?:find|compute|determine|calculate|evaluate|simplify|solve|what|how|express|enter)\b",
            sentence,
            re.IGNORECASE,
        )
        is not None
    )


def _shadow(text: str, *, style: Style) -> str:
    """Give the text with figures blank and formulas neutral; a formula's own final point stands last."""
    shadow = blank(text, find_figures(text))
    if style != "math":
        return shadow
    for start, end in find_formulas(text):
        closing = re.search(r"([.?!])[\s}]*(?:\$\$?|\\\]|\\\)|\\end\{[^}]*\})\Z", text[start:end])
        last = closing[1] if closing else "m"
        shadow = shadow[:start] + "M" + "m" * (end - start - 2) + last + shadow[end:]
    return shadow


def _iter_ends(shadow: str) -> Iterator[int]:
    for match in _END.finditer(shadow):
        before, after = shadow[: match.start()], shadow[match.end() :].lstrip()
        if match.group().isspace():
            if not re.search(r"[:,;]\s*\Z", before):
                yield match.end()
        elif not after or _ends_sentence(before, match.group(), after):
            yield match.end()


def _ends_sentence(before: str, mark: str, after: str) -> bool:
    starter = _STARTER.match(_first_word(after)) is not None
    if mark.startswith(("?", "!")):
        return starter or not after[0].islower()
    if mark.startswith("..."):
        return after[0].isupper()
    last = _last_word(before)
    if _TITLE.match(last):
        return False
    if _INITIALS.match(last):  # J. K. Rowling, the U.S. Army
        return starter
    return after[0].isupper() if _MAY_END.match(last) else True


def _last_word(text: str) -> str:
    word = re.search(r"(?<![\w$])[A-Za-z][A-Za-z.]*\Z", text)
    return word.group() if word else ""


def _first_word(text: str) -> str:
    word = re.match(r"\W*([A-Za-z]+)", text)
    return word[1] if word else ""
