"""Numbers of plain text that are one clear quantity: GSM8K's questions and MATH's prose."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from ._mask import Number
from ._number_words import NUMBER_WORD, parse_number_words

_CURRENCY = "$€£¥¢₹"
# A cluster takes everything that is written together, so that 7:30, 3-4, 1/2/2020 and 1,2 stay whole
# and are refused whole.
_CLUSTER = re.compile(
    rf"\d+(?:\s|-|\sand\s|\sand\sa\s)\d+/\d+(?![\d/])"
    rf"|(?:(?<!\d)\.)?\d+(?:(?:[.,:/]|%?\s?[-–—]\s?[{_CURRENCY}]?\.?|\s?\.\.+\s?)\d+)*"
)
_MIXED = re.compile(r"(\d+)(?:\s|-|\sand\s|\sand\sa\s)(\d+)/(\d+)")
_SHAPES = (
    ("thousands", re.compile(r"\d{1,3}(,\d{3})+")),
    ("thousands", re.compile(r"\d{1,3}(,\d{3})+\.\d+")),
    ("integer", re.compile(r"\d+")),
    ("decimal", re.compile(r"\d*\.\d+")),
    ("fraction", re.compile(r"\d+/0*[1-9]\d*")),
)
_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_ORDINAL = (
    r"(?:second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|\w+teenth|\w+tieth"
    r"|hundredth|thousandth)"
)
_FRACTION_WORD = rf"(?:hal(?:f|ves)|quarters?|(?!second){_ORDINAL}s?)"
_REFUSED_BEFORE = re.compile(
    rf"""(?:
        [\w#_^@]                                   # B12, #5
      | \w[-–—/'’]                                 # COVID-19, 5'6
      | \d[.,]
      | \b{_MONTH}\s                               # March 5
      | \b(?:iPhone|iPad|iPod|Xbox|PlayStation|Windows|Android|Galaxy|Boeing|Airbus|Highway|Route
           |Interstate|Flight|Room|Grade|Apartment|Apt\.?|Chapter|Figure|Problem|Number|No\.|Platform|Gate
           |Team|Group|Type|Phase|Level|Stage|Section|Unit|Day|Week|Month|Year|Level|Part|Lot)\s
      | \b(?:grade|number|(?:on|in|of|for|by|after|until|through|to)\s(?:day|week|month|year|level))\s
      | \b(?:ratio|odds|score)\sof\s
    )\Z""",
    re.VERBOSE,
)
_REFUSED_AFTER = re.compile(
    rf"""(?:
        [A-Za-z_µ½¼¾⅓⅔²³'’"”+^]                    # 3D, 40k, 21st, 5kg, 16', 60+
      | -(?:[A-Z]|d\b|way\b|wheel|dimension|to-|in-|on-|up\b|{_ORDINAL}\b|{_FRACTION_WORD}\b)   # 7-Eleven
      | -(?:{NUMBER_WORD.pattern})
      | \s?(?:[ap]\.?m\b|o[’']?clock\b|[AP]\.?M\b)  # 5 pm
      | \s(?:and|&)\s(?:an?\s|one[\s-]|two[\s-]|three[\s-])?{_FRACTION_WORD}\b                # 2 and a half
      | \s(?:and|&)\s(?:an?\s)?\d+/\d+
      | \s(?:hundred|thousand|million|billion)\s(?:and\s)?(?:\d|{NUMBER_WORD.pattern})
      | (?:th|st|nd|rd)\b
      | \s{_MONTH}\b(?!\s(?:be|not|have)\b)        # 5 March, but 5 May be
      | \s?:\s?\d
    )""",
    re.VERBOSE,
)
_YEAR = re.compile(r"1[5-9]\d\d|20\d\d")
_YEAR_BEFORE = re.compile(
    rf"(?:\b(?i:in|since|by|until|till|of|from|to|year|during|before|after|between|and|early|late|class\sof)"
    rf"|{_MONTH},?)\s\Z"
)
_YEAR_AFTER = re.compile(
    r"(?:[.,;?!)]|\s*\Z|\s(?:and|to|was|were|is|are|he|she|they|it|the|his|her|their|there|when|with|than"
    r"|if|at|for|an?|on|as|had|has|have|by|through|until|but|so|compared|election|season|census)\b)"
)
_POINTED_OUT = re.compile(r"\b(?:the|these|those|other|all)\s\Z", re.IGNORECASE)
_NO_NOUN = re.compile(
    r"and|more|less|fewer|times?|percent|for|from|each|per|the|that|than|which|while|with|were|was|are|hundred"
    r"|thousand|million|dozen|different|other|old|cents?|dollars?|but|who|have|has"
)
_NAME_AFTER = re.compile(r"\s[A-Z][a-z]")


@dataclass(frozen=True, slots=True)
class _Place:
    before: str
    after: str


def find_prose_numbers(text: str) -> list[Number]:
    """Give the numbers of plain text that are one clear quantity, in order of position.

    Refused: ordinals, fractions in words, bare "one" (a pronoun too often), clock times, dates, years
    (1500 to 2099 where the words around read as a date), ratios, ranges, scores, labels ("Room 12"),
    names, digits joined to letters, and a number that the text says twice of one thing, so that masking
    one gives it away: "5 boxes … the 5 boxes", "$10 bills … $10 bills".
    """
    found = sorted([*_find_digits(text), *_find_words(text)])
    joined = {n for pair in pairwise(found) if _runs_on(text, *pair) for n in pair}
    apart = [number for number in found if number not in joined]
    return _drop_given_away(text, apart)


def _find_digits(text: str) -> Iterator[Number]:
    for match in _CLUSTER.finditer(text):
        start, end = match.span()
        shape = _classify(match.group())
        place = _place(text, start, end)
        if shape is None or _refused_digits(place, match.group()):
            continue
        value, kind = shape
        yield Number(start, end, value, _kind_in_place(kind, place))


def _classify(cluster: str) -> tuple[str, str] | None:
    if mixed := _MIXED.fullmatch(cluster):
        whole, numerator, denominator = (int(part) for part in mixed.groups())
        return (f"{whole * denominator + numerator}/{denominator}", "mixed") if denominator else None
    for kind, pattern in _SHAPES:
        if pattern.fullmatch(cluster):
            value = cluster.replace(",", "")
            return ("0" + value if value.startswith(".") else value), kind
    return None


def _place(text: str, start: int, end: int) -> _Place:
    before = text[max(0, start - 40) : start]
    return _Place(before=before, after=text[end : end + 40])


def _refused_digits(place: _Place, digits: str) -> bool:
    before = place.before.rstrip(_CURRENCY)
    if _refused_before(before) or _REFUSED_AFTER.match(place.after):
        return True
    if re.match(
        r"\s(?:thirds?|fourths?|fifths?|sixths?|eighths?|tenths?|quarters?\sof|hal(?:f|ves))\b", place.after
    ):
        return True
    return bool(_YEAR.fullmatch(digits)) and bool(
        _YEAR_BEFORE.search(place.before) and _YEAR_AFTER.match(place.after)
    )


def _refused_before(before: str) -> bool:
    # A minus sign and a long dash ("the ceiling--38") end what came before them.
    if before.endswith("--") or re.search(r"(?:\A|[\s(=])[-–−]\Z", before):
        return False
    return _REFUSED_BEFORE.search(before) is not None


def _kind_in_place(kind: str, place: _Place) -> str:
    if place.before[-1:] in _CURRENCY and place.before:
        return "currency"
    if place.after[:1] in _CURRENCY and place.after:
        return "currency"
    if re.match(r"\s?(?:\\?%|percent\b|per\scent\b)", place.after):
        return "percent"
    return kind


def _find_words(text: str) -> Iterator[Number]:
    for match in NUMBER_WORD.finditer(text):
        place = _place(text, *match.span())
        if match.group().lower() != "one" and not _refused_words(place, match.group()):
            value = str(parse_number_words(match.group()))
            yield Number(*match.span(), value, _word_kind(place))


def _word_kind(place: _Place) -> str:
    return "percent" if re.match(r"\s(?:percent|per\scent)\b", place.after) else "word"


def _refused_words(place: _Place, words: str) -> bool:
    if _refused_before(place.before) or _REFUSED_AFTER.match(place.after):
        return True
    if _POINTED_OUT.search(place.before):  # "the two of them"
        return True
    if re.match(rf"[\s-]{_FRACTION_WORD}\b|[\s-](?:half|second)\b", place.after, re.IGNORECASE):
        return True  # two thirds, twenty-second
    if re.search(r"\s\w+\Z", words) and place.after.startswith(
        "-"
    ):  # twenty five-pound bags: 25, or 20 of 5?
        return True
    starts_sentence = re.search(r"(?:\A|[.?!:”\"]\s*|\n\s*)\Z", place.before) is not None
    return words[0].isupper() and (not starts_sentence or _NAME_AFTER.match(place.after) is not None)


def _runs_on(text: str, number: Number, following: Number) -> bool:
    return re.fullmatch(r"\s?[-–]\s?", text[number.end : following.start]) is not None


def _drop_given_away(text: str, found: list[Number]) -> list[Number]:
    pointed_out: set[str] = set()
    seen: set[str] = set()
    for number in found:
        if number.value in seen and _POINTED_OUT.search(text[: number.start]):
            pointed_out.add(number.value)
        seen.add(number.value)
    named = Counter((number.value, _noun_after(text, number)) for number in found)
    return [
        number
        for number in found
        if number.value not in pointed_out
        and (named[number.value, _noun_after(text, number)] == 1 or not _noun_after(text, number))
    ]


def _noun_after(text: str, number: Number) -> str:
    noun = re.match(r"(?:\s|-)([a-z]{3,})", text[number.end : number.end + 30])
    return "" if noun is None or _NO_NOUN.fullmatch(noun[1]) else noun[1].removesuffix("s")
