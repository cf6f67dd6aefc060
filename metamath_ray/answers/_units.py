"""Units, currency, percent and degree signs around a number: peel them off, compare them."""

import re
from dataclasses import dataclass
from fractions import Fraction

from metamath_ray.answers._boxed import find_closing_brace


@dataclass(frozen=True, slots=True)
class Unit:
    """What stands beside a number. `dimension` is empty where the words are no unit that we know.

    `factor` times the number is the amount in the dimension's first unit. A `scale` word (million) may
    also belong to the number.
    """

    words: str
    dimension: str = ""
    factor: Fraction = Fraction(1)
    scale: int = 1


def _table() -> dict[str, tuple[str, Fraction]]:
    rows = {
        "length": "m meter metre=1; cm centimeter centimetre=1/100; mm millimeter=1/1000; km kilometer=1000",
        "us length": "in inch inche=1; ft foot feet=12; yd yard=36; mi mile=63360",
        "mass": "g gram=1; kg kilogram kilo=1000; mg milligram=1/1000",
        "us mass": "oz ounce=1; lb lbs pound=16; ton=32000",
        "time": "s sec second=1; min minute=60; hr h hour=3600; day=86400; week=604800",
        "long time": "month=1; year yr=12",
        "money": "dollar usd buck=1; cent penny pennie=1/100",
        "volume": "l liter litre=1; ml milliliter millilitre=1/1000",
        "us volume": "pint=1; quart=2; gallon gal=8; cup=1/2",
        "angle": "degree deg=1",
    }
    table = {}
    for dimension, units in rows.items():
        for unit in units.split(";"):
            names, _, factor = unit.partition("=")
            for name in names.split():
                table[name] = (dimension, Fraction(factor))
    return table


_TABLE = _table()
_SCALES = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_BARE_ABBREVIATIONS = frozenset(
    ["cm", "mm", "km", "kg", "mg", "ft", "yd", "oz", "lb", "lbs", "min", "sec", "hr", "ml", "mph"]
)
_NO_UNITS = frozenset(
    {
        "sqrt", "pi", "sin", "cos", "tan", "log", "ln", "infinity", "inf", "oo", "frac", "text", "cup", "or",
        "and", "if", "where", "undefined",
    }
)  # fmt: skip
_TRAILING_WORDS = re.compile(
    r"(?<=[\d})!. ])\s*([A-Za-z][A-Za-z'-]*\.?(?:[ /*]+[A-Za-z][A-Za-z'-]*\.?)*(?:\s*\^\s*\{?[23]\}?)?)$"
)
_POWER_AFTER = re.compile(r"\s*\^\s*(?:\{\s*([23])\s*\}|([23]))\s*$")
_CURRENCY = re.compile(r"^\s*([-+]?)\s*(?:\\?\$|[€£¥₹]|USD\b|Rs\.?)\s*")
_CURRENCY_AFTER = re.compile(r"\s*(?:\\?\$|[€£¥₹])\s*$")
_PERCENT = re.compile(
    r"\s*(?:\\?%|(?:\\text\s*\{\s*)?\b(?:percent|per cent|percentage|pct)\b\s*\}?)\s*$", re.IGNORECASE
)
_ANGLE_FUNCTION = re.compile(r"\\(?:sin|cos|tan|sec|csc|cot)(?![A-Za-z])")
_DEGREES = re.compile(r"\s*\^\\circ\s*(?:\\text\s*\{\s*)?([CF]?)\s*\}?\s*$")


def peel_percent(text: str) -> tuple[str, bool]:
    """Split a percent sign or word off the end."""
    if text.endswith(("%", "t", "e", "}", "T", " ")):
        match = _PERCENT.search(text)
        if match and match.start() > 0:
            return text[: match.start()], True
    return text, False


def peel_unit(text: str) -> tuple[str, Unit | None]:
    """Split currency, degrees, `\\text{…}` or plain words off a number; the rest is the number."""
    currency = _CURRENCY.match(text)
    if currency:
        rest, _ = _peel_words(text[currency.end() :])
        return currency[1] + rest, Unit("$", "money")
    if text.endswith(("$", "€", "£", "¥", "₹")) and (after := _CURRENCY_AFTER.search(text)):
        return text[: after.start()], Unit("$", "money")
    if (
        "\\circ" in text
        and not _ANGLE_FUNCTION.search(text)
        and (degrees := _DEGREES.search(text))
        and degrees.start() > 0
    ):
        return text[: degrees.start()], Unit("degree" + degrees[1], "angle")
    return _peel_words(text)


def _peel_words(text: str) -> tuple[str, Unit | None]:
    if "\\text" in text:
        rest, words = _peel_text_macro(text)
        if words is not None:
            return rest, read_unit(words)
    match = _TRAILING_WORDS.search(text) if text and (text[-1].isalpha() or text[-1] in "23}.") else None
    if match and match.start() > 0 and _is_unit(match[1]) and any(map(str.isdigit, text[: match.start()])):
        return text[: match.start()], read_unit(match[1])
    return text, None


def _is_unit(words: str) -> bool:
    """Tell units from products of variables: known short ones, or a word of three letters and more."""
    parts = re.findall(r"[A-Za-z]+", words)
    if not parts or any(part.lower() in _NO_UNITS for part in parts):
        return False
    return parts[0] in _BARE_ABBREVIATIONS or any(len(part) >= 3 for part in parts)


def _peel_text_macro(text: str) -> tuple[str, str | None]:
    """Split a last `\\text{ unit}`, its exponent included, off a number."""
    power = _POWER_AFTER.search(text)
    body = text[: power.start()].rstrip() if power else text.rstrip()
    start = body.rfind("\\text")
    if start <= 0 or find_closing_brace(body, start + 5) != len(body) - 1:
        return text, None
    words = body[start + 5 :].strip("{} ")
    return body[:start], f"{words}^{power[1] or power[2]}" if power else words


def read_unit(words: str) -> Unit:
    """Give the unit that words stand for; unknown words are a unit without a dimension."""
    plain = re.sub(r"[\\{}$.]", " ", words.lower()).strip()
    power, plain = _dimension_power(plain)
    parts = plain.split()
    scale = _SCALES.get(parts[0], 1) if parts else 1
    name = parts[-1] if len(parts) == 1 else ""
    known = _TABLE.get(name) or _TABLE.get(name.removesuffix("s"))
    if known is None or scale > 1:
        return Unit(" ".join(parts), scale=scale)
    dimension, factor = known
    return Unit(name, f"{dimension}^{power}", factor**power)


_POWER_WORDS = (("square", 2), ("sq", 2), ("cubic", 3), ("cu", 3))


def _dimension_power(words: str) -> tuple[int, str]:
    match = re.search(r"\^\s*([23])\s*$", words)
    if match:
        return int(match[1]), words[: match.start()].strip()
    first, _, rest = words.partition(" ")
    for word, power in _POWER_WORDS:
        if first == word and rest:
            return power, rest.strip()
    return 1, words


def conversion(predicted: Unit | None, gold: Unit | None) -> Fraction | None:
    """Give what to multiply the prediction by before it is compared; None where the units contradict.

    A missing or unknown unit takes the other's: answers are asked for in a unit more often than they name it.
    """
    if predicted is None or gold is None or not predicted.dimension or not gold.dimension:
        return Fraction(1)
    first, second = (unit.dimension.removesuffix("^1") for unit in (predicted, gold))
    if first != second:
        return None
    return predicted.factor / gold.factor
