"""Values of expression trees: exact where they are rational, else complex with an error bound.

Two inexact values that differ by far more than their bounds are two; where they do not, floats cannot
tell, and `None` says so: `_precise` then decides.
"""

import cmath
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from metamath_ray.answers._expression import Node

_EPSILON = sys.float_info.epsilon
_MAX_BITS = 20_000
_MAX_EXPONENT = 20_000
_MAX_FACTORIAL = 2_080  # beyond, the bits are too many


class NoValue(ValueError):  # noqa: N818 - a condition of the input, not a fault of ours
    """The tree has no value that can be computed safely: overflow, too large, ambiguous."""


class TooLarge(NoValue):
    """The value, or one on the way to it, is beyond all floats."""


class Undefined(NoValue):
    """The tree has no value at all there: it divides by an exact zero."""


@dataclass(frozen=True, slots=True)
class Approximate:
    """A complex number and a bound on the absolute error of its computation."""

    value: complex
    error: float


Value = Fraction | Approximate


def evaluate(node: Node, variables: Mapping[str, Fraction]) -> Value:
    """Give the value of a tree with its variables set.

    Raises:
        Undefined: it divides by zero.
        TooLarge: a float on the way overflows.
        NoValue: it is too large to compute, or has more than one reading.
    """
    try:
        return _evaluate(node, variables)
    except ZeroDivisionError as error:
        raise Undefined(str(error)) from error
    except OverflowError as error:
        raise TooLarge(str(error)) from error


def apply_exactly(operation: str, operands: Sequence[Fraction]) -> Fraction | None:
    """Give an operation's rational value; None where it is irrational, or not found to be rational.

    Raises as `evaluate` does, ZeroDivisionError and OverflowError as they come.
    """
    value = _bounded(_OPERATIONS[operation](*operands))
    return value if isinstance(value, Fraction) else None


def same_value(first: Value, second: Value) -> bool | None:
    """Tell whether two values are equal; None where one is inexact and floats cannot tell them apart."""
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        return first == second
    try:
        a, b = approximate(first), approximate(second)
    except TooLarge:
        return False  # a rational beyond all floats against a value that is one
    difference, size = abs(a.value - b.value), max(abs(a.value), abs(b.value))
    bound = 16 * (a.error + b.error) + 4 * _EPSILON * size
    if not math.isfinite(bound) or not math.isfinite(difference) or bound > 1e-5 * max(size, 1e-5):
        return None
    return False if difference > 1e5 * bound else None


def approximate(value: Value) -> Approximate:
    """Give the value as a float with its error bound."""
    if isinstance(value, Approximate):
        return value
    try:
        number = float(value)
    except OverflowError as error:
        raise TooLarge("too large for a float") from error
    return Approximate(complex(number), 0.0 if value.denominator == 1 else abs(number) * _EPSILON)


def _evaluate(node: Node, variables: Mapping[str, Fraction]) -> Value:
    operation = node[0]
    if operation == "num":
        assert isinstance(node[1], Fraction)
        return node[1]
    if operation == "var":
        return _variable(str(node[1]), variables)
    if operation == "pi":
        return Approximate(complex(math.pi), _EPSILON)
    if operation == "fn":
        return _function(str(node[1]), approximate(_evaluate(_child(node, 2), variables)))
    operands = [_evaluate(_child(node, index), variables) for index in range(1, len(node))]
    return _bounded(_OPERATIONS[str(operation)](*operands))


def _child(node: Node, index: int) -> Node:
    child = node[index]
    assert isinstance(child, tuple)
    return child


def _variable(name: str, variables: Mapping[str, Fraction]) -> Value:
    if name == "i":
        return Approximate(1j, 0.0)
    if name == "e":
        return Approximate(complex(math.e), _EPSILON)
    return variables[name]


def _bounded(value: Value) -> Value:
    if isinstance(value, Fraction):
        if value.numerator.bit_length() + value.denominator.bit_length() > _MAX_BITS:
            raise NoValue("too large")
    elif not (cmath.isfinite(value.value) and math.isfinite(value.error)):
        raise TooLarge("not finite")
    return value


def _rounded(value: complex, error: float) -> Approximate:
    return Approximate(value, error + _EPSILON * abs(value))


def _add(first: Value, second: Value) -> Value:
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        return first + second
    a, b = approximate(first), approximate(second)
    return _rounded(a.value + b.value, a.error + b.error)


def _negate(value: Value) -> Value:
    return -value if isinstance(value, Fraction) else Approximate(-value.value, value.error)


def _subtract(first: Value, second: Value) -> Value:
    return _add(first, _negate(second))


def _multiply(first: Value, second: Value) -> Value:
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        return first * second
    a, b = approximate(first), approximate(second)
    error = abs(a.value) * b.error + abs(b.value) * a.error + a.error * b.error
    return _rounded(a.value * b.value, error)


def _divide(first: Value, second: Value) -> Value:
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        return first / second
    a, b = approximate(first), approximate(second)
    size = abs(b.value)
    if size <= 4 * b.error:
        raise NoValue("division by what may be zero")
    quotient = a.value / b.value
    return _rounded(quotient, (a.error + abs(quotient) * b.error) / (size - b.error))


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            return _integer_power(base, int(exponent))
        if base >= 0:
            return _rational_power(base, exponent)
        if exponent.denominator != 2:
            raise NoValue("a root of a negative number with more than one reading")
    return _approximate_power(approximate(base), approximate(exponent))


def _integer_power(base: Fraction, exponent: int) -> Value:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) == 1 or base == 0 or (abs(exponent) <= _MAX_EXPONENT and bits * abs(exponent) <= _MAX_BITS):
        if abs(exponent) > _MAX_EXPONENT:
            exponent = 2 + exponent % 2 if exponent > 0 else -2 - exponent % 2
        return base**exponent
    raise NoValue("a power too large")


def _rational_power(base: Fraction, exponent: Fraction) -> Value:
    root = _exact_root(base, exponent.denominator)
    if root is not None:
        return _integer_power(root, exponent.numerator)
    return _approximate_power(approximate(base), approximate(exponent))


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    """Give the rational root of a non-negative rational, None where it is irrational or large."""
    if degree > 32 or max(value.numerator.bit_length(), value.denominator.bit_length()) > 300:
        return None
    parts = []
    for part in (value.numerator, value.denominator):
        near = math.isqrt(part) if degree == 2 else round(part ** (1 / degree))
        if near**degree != part:
            return None
        parts.append(near)
    return Fraction(parts[0], parts[1])


def _approximate_power(base: Approximate, exponent: Approximate) -> Value:
    if base.value == 0:
        if exponent.value.real > 0 and base.error == 0:
            return Fraction(0)
        raise NoValue("a power of zero")
    result = base.value**exponent.value
    error = abs(exponent.value) * base.error / abs(base.value) + abs(cmath.log(base.value)) * (
        exponent.error + _EPSILON * abs(exponent.value)
    )
    return _rounded(result, 2 * abs(result) * error)


def _root(degree: Value, value: Value) -> Value:
    if not isinstance(degree, Fraction) or degree.denominator != 1 or not 2 <= degree <= 64:
        return _power(value, _divide(Fraction(1), degree))
    if isinstance(value, Fraction) and value < 0 and degree % 2 == 1:
        return _negate(_rational_power(-value, 1 / degree))
    return _power(value, 1 / degree)


def _factorial(value: Value) -> Value:
    if isinstance(value, Fraction) and value.denominator == 1 and 0 <= value <= _MAX_FACTORIAL:
        result = Fraction(math.factorial(int(value)))
        return result if result.numerator.bit_length() <= _MAX_BITS else _no_value()
    return _no_value()


def _no_value() -> Value:
    """Stand in an expression for a value that there is not."""
    raise NoValue("no value that is safe to compute")


def _binomial(top: Value, bottom: Value) -> Value:
    if not isinstance(top, Fraction) or not isinstance(bottom, Fraction):
        return _no_value()
    if top.denominator != 1 or bottom.denominator != 1 or not 0 <= bottom <= top <= 2_000:
        return _no_value()
    return Fraction(math.comb(int(top), int(bottom)))


def _absolute(value: Value) -> Value:
    return abs(value) if isinstance(value, Fraction) else Approximate(complex(abs(value.value)), value.error)


def _degrees(value: Value) -> Value:
    return _multiply(value, Approximate(complex(math.pi / 180), _EPSILON / 32))


def _floor(value: Value) -> Value:
    return Fraction(math.floor(value)) if isinstance(value, Fraction) else _no_value()


def _ceiling(value: Value) -> Value:
    return Fraction(math.ceil(value)) if isinstance(value, Fraction) else _no_value()


def _logarithm(base: Value, value: Value) -> Value:
    return _divide(_function("ln", approximate(value)), _function("ln", approximate(base)))


_OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": _add, "sub": _subtract, "neg": _negate, "mul": _multiply, "div": _divide, "pow": _power,
    "root": _root, "fact": _factorial, "binom": _binomial, "abs": _absolute, "deg": _degrees,
    "floor": _floor, "ceil": _ceiling, "log": _logarithm,
}  # fmt: skip

_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "exp": cmath.exp, "ln": cmath.log,
    "sinh": cmath.sinh, "cosh": cmath.cosh, "tanh": cmath.tanh, "arcsin": cmath.asin,
    "arccos": cmath.acos, "arctan": cmath.atan, "sec": lambda z: 1 / cmath.cos(z),
    "csc": lambda z: 1 / cmath.sin(z), "cot": lambda z: cmath.cos(z) / cmath.sin(z),
}  # fmt: skip


def _function(name: str, argument: Approximate) -> Approximate:
    """Apply a function; its slope, for the error, is measured beside the point."""
    function = _FUNCTIONS.get(name)
    if function is None:
        raise NoValue(f"no function {name}")
    step = 1e-6 * max(1.0, abs(argument.value))
    try:
        result = function(argument.value)
        slope = abs(function(argument.value + step) - result) / step
    except ValueError as error:
        raise NoValue(f"{name} has no value there") from error
    input_error = argument.error + _EPSILON * abs(argument.value)
    return _rounded(result, 2 * (slope + 1) * input_error + _EPSILON)
