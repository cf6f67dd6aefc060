"""Decide near-ties: two trees whose values floats cannot tell apart, with as many digits as that takes.

`\\sqrt{10^{20}+1}` and `10^{10}` are one float and two numbers. The difference is measured at growing
precision: it stays (two values), or it vanishes with the rounding (one). Digits are bounded, so is time.
"""

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from metamath_ray.answers._expression import Node
from metamath_ray.answers._value import NoValue, TooLarge, apply_exactly

_FIRST_DIGITS = 50
_MAX_DIGITS = 1_000
_SLACK = 10
_MAX_MAGNITUDE = 20_000  # bits
_MAX_ARGUMENT = 1_000  # bits, of a sine: its reduction takes as many digits again
_MAX_EXPONENTIAL = 14  # bits, of the argument
_DIGITS_PER_BIT = math.log10(2)


class Undecided(ValueError):  # noqa: N818 - a condition of the input, not a fault of ours
    """The difference of two values neither stayed nor vanished within the digits allowed."""


def same_precisely(
    first: Node, first_point: Mapping[str, Fraction], second: Node, second_point: Mapping[str, Fraction]
) -> bool:
    """Tell whether two trees have one value, each with its variables at its point.

    Equal means: to 90 digits at least, and to twice the places of the least term. Thread-safe.

    Raises:
        NoValue: a side has no value that is safe to compute.
        Undecided: it would take more digits than are allowed.
    """
    sides = ((first, first_point), (second, second_point))
    digits = _FIRST_DIGITS
    before = _distance(sides, digits)
    while digits < _MAX_DIGITS:
        gained = min(max(2 * digits, before.needed), _MAX_DIGITS) - digits
        digits += gained
        after = _distance(sides, digits)
        if max(before.needed, after.needed) <= digits:
            if after.difference != 0 and abs(before.difference - after.difference) < after.difference * 1e-9:
                return False
            noise = max(before.difference, before.noise)
            if after.difference <= noise * after.context.mpf(10) ** (_SLACK - gained):
                return True
        before = after
    raise Undecided("the values are too near each other")


@dataclass(frozen=True, slots=True)
class _Distance:
    """How far two values are apart at some precision, and the digits that no term would be lost at."""

    context: Any
    difference: Any
    noise: Any
    needed: int


def _distance(sides: tuple[tuple[Node, Mapping[str, Fraction]], ...], digits: int) -> _Distance:
    context = _own_context()
    context.dps = digits
    evaluation = _Evaluation(context, digits)
    try:
        a, b = (evaluation.number(evaluation.value(tree, point)) for tree, point in sides)
        difference = abs(a - b)
    except (ZeroDivisionError, OverflowError) as error:
        raise NoValue(str(error)) from error
    noise = max(abs(a), abs(b)) * context.mpf(10) ** -digits
    return _Distance(context, difference, noise, evaluation.needed)


_local = threading.local()


def _own_context() -> Any:
    """Give this thread's mpmath context: its precision is a setting, which threads must not share."""
    if not hasattr(_local, "context"):
        from mpmath.ctx_mp import MPContext

        _local.context = MPContext()
    return _local.context


class _Evaluation:
    """Values of trees in one context: exact where they are rational; `needed` digits to lose no term."""

    def __init__(self, context: Any, digits: int) -> None:
        self.context = context
        self.digits = digits
        self.needed = 0

    def value(self, node: Node, variables: Mapping[str, Fraction]) -> Any:
        operation = str(node[0])
        if operation == "num":
            return node[1]
        if operation == "pi":
            return +self.context.pi
        if operation == "var":
            return self.variable(str(node[1]), variables)
        operands = [self.value(child, variables) for child in node[1:] if isinstance(child, tuple)]
        if operation == "fn":
            return self.function(str(node[1]), self.number(operands[0]))
        if all(isinstance(operand, Fraction) for operand in operands):
            exact = _exact(operation, operands)
            if exact is not None:
                return exact
        if operation not in _OPERATIONS:
            raise NoValue(f"no {operation} of an inexact value")
        return self.bounded(_OPERATIONS[operation](self, *operands))

    def variable(self, name: str, variables: Mapping[str, Fraction]) -> Any:
        if name == "i":
            return self.context.mpc(0, 1)
        return +self.context.e if name == "e" else variables[name]

    def number(self, value: Any) -> Any:
        """Give an exact value in the context."""
        if not isinstance(value, Fraction):
            return value
        self.lose(max(value.numerator.bit_length(), value.denominator.bit_length()))
        return self.context.mpf(value.numerator) / value.denominator

    def lose(self, bits: int) -> None:
        """Take note of bits that rounding may have dropped: with twice as many digits they count."""
        digits = int(bits * _DIGITS_PER_BIT)
        if digits > self.digits + _SLACK:
            self.needed = max(self.needed, 2 * digits + _SLACK)

    def bounded(self, value: Any) -> Any:
        if not self.context.isfinite(value) or abs(self.magnitude(value)) > _MAX_MAGNITUDE:
            raise NoValue("not finite, or too large")
        return value

    def magnitude(self, value: Any) -> int:
        """Give the number of bits before the point, negative for zero bits after it; 0 for zero."""
        return int(self.context.mag(value)) if value != 0 else 0

    def add(self, first: Any, second: Any) -> Any:
        a, b = self.number(first), self.number(second)
        if a != 0 and b != 0:
            self.lose(abs(self.magnitude(a) - self.magnitude(b)))
        return a + b

    def subtract(self, first: Any, second: Any) -> Any:
        return self.add(first, -second)

    def power(self, base: Any, exponent: Any) -> Any:
        a, b = self.number(base), self.number(exponent)
        if a == 0:
            raise NoValue("a power of what may be zero")
        if self.magnitude(b) > 32 or abs(b) * max(abs(self.magnitude(a)), 1) > _MAX_MAGNITUDE:
            raise NoValue("a power too large")
        whole = isinstance(exponent, Fraction) and exponent.denominator == 1
        return a ** (int(exponent) if whole else b)

    def root(self, degree: Any, value: Any) -> Any:
        if degree == 2:
            return self.context.sqrt(self.number(value))
        odd = (
            isinstance(degree, Fraction) and degree.denominator == 1 and 2 <= degree <= 64 and degree % 2 == 1
        )
        if odd and isinstance(value, Fraction) and value < 0:
            return -self.power(-value, 1 / degree)
        return self.power(value, 1 / degree)

    def function(self, name: str, argument: Any) -> Any:
        function = getattr(self.context, _FUNCTIONS.get(name, ""), None)
        if function is None:
            raise NoValue(f"no function {name}")
        exponential = name in ("exp", "sinh", "cosh", "tanh")
        if self.magnitude(argument) > (_MAX_EXPONENTIAL if exponential else _MAX_ARGUMENT):
            raise NoValue("an argument too large")
        return self.bounded(function(argument))

    def logarithm(self, base: Any, value: Any) -> Any:
        return self.function("ln", self.number(value)) / self.function("ln", self.number(base))


def _exact(operation: str, operands: list[Fraction]) -> Fraction | None:
    """Give the rational value of an operation, None where it is irrational or beyond all floats."""
    try:
        return apply_exactly(operation, operands)
    except TooLarge:
        return None


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": _Evaluation.add, "sub": _Evaluation.subtract, "neg": lambda _, value: -value,
    "mul": lambda evaluation, a, b: evaluation.number(a) * evaluation.number(b),
    "div": lambda evaluation, a, b: evaluation.number(a) / evaluation.number(b),
    "pow": _Evaluation.power, "root": _Evaluation.root, "log": _Evaluation.logarithm,
    "abs": lambda _, value: abs(value),
    "deg": lambda evaluation, value: evaluation.number(value) * evaluation.context.pi / 180,
}  # fmt: skip

_FUNCTIONS = {
    "sin": "sin", "cos": "cos", "tan": "tan", "exp": "exp", "ln": "log", "sinh": "sinh", "cosh": "cosh",
    "tanh": "tanh", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "sec": "sec", "csc": "csc",
    "cot": "cot",
}  # fmt: skip
