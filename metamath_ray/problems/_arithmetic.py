"""A check of GSM8K's worked arithmetic: each `<<expression=value>>` is computed exactly."""

import re
from fractions import Fraction

from metamath_ray.problems._gold import extract_gold_gsm8k

_ANNOTATION = re.compile(r"<<(.*?)>>", re.DOTALL)
_TOKEN = re.compile(r"\s*(?:(\d+(?:,\d{3})*(?:\.\d*)?|\.\d+)|([-+*/()%]))")
_MAX_LENGTH = 200


def check_worked_arithmetic(solution: str) -> list[str]:
    """Complaints about a GSM8K solution's arithmetic; an empty list where all of it holds.

    Every `<<expression=value>>` must be exact (fractions, no rounding), and the gold after
    `#### ` must equal the last value. A solution without annotation or gold is complained of too.
    """
    values: list[Fraction] = []
    complaints: list[str] = []
    for annotation in _ANNOTATION.findall(solution):
        try:
            values.append(_check_annotation(annotation))
        except _ArithmeticComplaintError as complaint:
            complaints.append(f"<<{annotation}>>: {complaint}")
    if complaints:
        return complaints
    if not values:
        return ["no <<expression=value>> in the solution"]
    return _check_gold(solution, values[-1])


def compute_arithmetic(expression: str) -> Fraction | None:
    """The exact value of plain numbers under + - * / ( ) and %; None where it is nothing of the kind."""
    try:
        return _Expression(expression).value()
    except _ArithmeticComplaintError:
        return None


class _ArithmeticComplaintError(ValueError):
    """An annotation that is not an equation, or not a true one."""


def _check_gold(solution: str, last: Fraction) -> list[str]:
    gold = extract_gold_gsm8k(solution)
    if not gold:
        return ["no gold after '#### '"]
    try:
        value = _Expression(gold).value()
    except _ArithmeticComplaintError as complaint:
        return [f"gold {gold!r}: {complaint}"]
    return [] if value == last else [f"gold {gold!r} is not the last annotation's value {last}"]


def _check_annotation(annotation: str) -> Fraction:
    left, equals, right = annotation.rpartition("=")
    if not equals:
        raise _ArithmeticComplaintError("not of the form expression=value")
    computed, stated = _Expression(left).value(), _Expression(right).value()
    if computed != stated:
        raise _ArithmeticComplaintError(f"the left side is {computed}")
    return stated


class _Expression:
    """Recursive descent over + - * / ( ) %, numbers with thousands commas or decimals; exact."""

    def __init__(self, text: str) -> None:
        if len(text) > _MAX_LENGTH:
            raise _ArithmeticComplaintError(f"longer than {_MAX_LENGTH} characters")
        self._tokens = _tokenize(text)
        self._next = 0

    def value(self) -> Fraction:
        result = self._sum()
        if self._peek():
            raise _ArithmeticComplaintError(f"unexpected {self._peek()!r}")
        return result

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _sum(self) -> Fraction:
        result = self._product()
        while self._peek() in ("+", "-"):
            result += self._product() if self._take() == "+" else -self._product()
        return result

    def _product(self) -> Fraction:
        result = self._signed()
        while self._peek() in ("*", "/"):
            if self._take() == "*":
                result *= self._signed()
            else:
                result /= self._divisor()
        return result

    def _divisor(self) -> Fraction:
        divisor = self._signed()
        if divisor == 0:
            raise _ArithmeticComplaintError("division by zero")
        return divisor

    def _signed(self) -> Fraction:
        if self._peek() in ("+", "-"):
            return self._signed() if self._take() == "+" else -self._signed()
        return self._percent()

    def _percent(self) -> Fraction:
        result = self._atom()
        while self._peek() == "%":
            self._take()
            result /= 100
        return result

    def _atom(self) -> Fraction:
        symbol = self._take()
        if symbol == "(":
            result = self._sum()
            if self._take() != ")":
                raise _ArithmeticComplaintError("a bracket does not close")
            return result
        if not symbol or symbol in "+-*/%)":
            raise _ArithmeticComplaintError(
                f"a number is missing before {symbol!r}" if symbol else "a number is missing at the end"
            )
        return Fraction(symbol.replace(",", ""))


def _tokenize(text: str) -> list[str]:
    tokens: list[str] = []
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _ArithmeticComplaintError(f"cannot read {text[position:].strip()[:20]!r}")
        tokens.append(match.group(1) or match.group(2))
        position = match.end()
    return tokens
