"""Tell whether two expressions are the same function, by their values at fixed points.

Two different expressions of this size agree at several such points with negligible probability
(Schwartz and Zippel for polynomials). Values are exact or carry an error bound; near-ties get more digits.
"""

import zlib
from fractions import Fraction
from functools import lru_cache

from metamath_ray.answers._expression import Node
from metamath_ray.answers._precise import Undecided, same_precisely
from metamath_ray.answers._shape import Relation, Scalar
from metamath_ray.answers._tidy import squash
from metamath_ray.answers._value import NoValue, TooLarge, Undefined, Value, approximate, evaluate, same_value

_CONSTANTS = frozenset({"e", "i"})
_POINTS = (1, 2, -1)
"""Seeds of the points; at a negative one some variables are negative."""
_SIGN_CHANGED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}


def same_expression(predicted: Scalar, gold: Scalar, factor: Fraction = Fraction(1)) -> bool | None:
    """Compare the first times the factor with the second; None where it cannot be told.

    Raises:
        Undecided: the two are too near each other for the digits allowed.
    """
    if factor == 1 and squash(predicted.text) == squash(gold.text):
        return True
    if predicted.tree is None or gold.tree is None:
        return None
    if factor == 1 and predicted.tree == gold.tree:
        return True
    scaled: Node = predicted.tree if factor == 1 else ("mul", predicted.tree, ("num", factor))
    first, second = variables_of(predicted.tree), variables_of(gold.tree)
    return same_trees(scaled, gold.tree, first | second)


def same_trees(first: Node, second: Node, names: frozenset[str]) -> bool | None:
    """Compare two trees at points; a difference among positive values decides, agreement must be general."""
    for seed in _POINTS if names else _POINTS[:1]:
        point = point_for(names, seed)
        try:
            verdict = _same_at(first, second, point)
        except NoValue:
            return None
        if verdict is not True:
            return None if seed < 0 else verdict
    return True


def _same_at(first: Node, second: Node, point: dict[str, Fraction]) -> bool | None:
    """Compare at a point; a constant that is not defined, `7/0`, differs from one that is."""
    try:
        gold = evaluate(second, point)
        value = _value_or_undefined(first, point)
    except TooLarge:
        return same_precisely(first, point, second, point)
    if value is None:
        return None if point else False
    verdict = same_value(value, gold)
    return _decide_tie((first, point), (second, point)) if verdict is None else verdict


def _decide_tie(first: tuple[Node, dict[str, Fraction]], second: tuple[Node, dict[str, Fraction]]) -> bool:
    """Compare two values that floats cannot tell apart; beyond our limits nothing else could either."""
    try:
        return same_precisely(*first, *second)
    except NoValue as error:
        raise Undecided(str(error)) from error


def _value_or_undefined(tree: Node, point: dict[str, Fraction]) -> Value | None:
    try:
        return evaluate(tree, point)
    except Undefined:
        return None


def variables_of(tree: Node) -> frozenset[str]:
    """Give the names of the tree's variables, constants left out."""
    names: set[str] = set()
    stack: list[Node] = [tree]
    while stack:
        node = stack.pop()
        if node[0] == "var":
            names.add(str(node[1]))
        stack.extend(child for child in node[1:] if isinstance(child, tuple))
    return frozenset(names - _CONSTANTS)


@lru_cache(maxsize=512)
def point_for(names: frozenset[str], seed: int) -> dict[str, Fraction]:
    """Give each variable a fixed rational between 0.7 and 2.7, with mixed signs for a negative seed."""
    point = {}
    for position, name in enumerate(sorted(names)):
        bits = zlib.crc32(f"{name}|{seed}".encode("utf-8", "replace"))
        value = Fraction(700 + bits % 1_999, 997)
        point[name] = -value if seed < 0 and position % 2 == 0 else value
    return point


def same_relation(predicted: Relation, gold: Relation) -> bool | None:
    """Compare equations and inequalities: the same set of solutions if one is a constant times the other."""
    if len(predicted.sides) != len(gold.sides):
        return False
    if len(predicted.sides) > 2:
        return _same_chain(predicted, gold)
    if any(side.tree is None for side in predicted.sides + gold.sides):
        return None
    if not (variables_of(_difference(predicted)) and variables_of(_difference(gold))):
        return _same_chain(predicted, gold)  # between constants every quotient is constant
    if _kind(predicted.signs[0]) != _kind(gold.signs[0]):
        return False
    ratio = _constant_ratio(_difference(predicted), _difference(gold))
    if ratio is None or ratio is False:
        return ratio
    flip = predicted.signs[0] != gold.signs[0]
    return True if gold.signs[0] in ("=", "\\ne", "\\equiv") else (ratio < 0) == flip


def _same_chain(predicted: Relation, gold: Relation) -> bool | None:
    for candidate in (predicted, _reversed(predicted)):
        if candidate.signs == gold.signs:
            verdicts = [same_expression(a, b) for a, b in zip(candidate.sides, gold.sides, strict=True)]
            if False not in verdicts:
                return None if None in verdicts else True
    return False


def _reversed(relation: Relation) -> Relation:
    signs = tuple(_SIGN_CHANGED.get(sign, sign) for sign in relation.signs[::-1])
    return Relation(relation.sides[::-1], signs)


def _kind(sign: str) -> str:
    return {">": "<", "\\ge": "\\le"}.get(sign, sign)


def _difference(relation: Relation) -> Node:
    left, right = relation.sides[0].tree, relation.sides[1].tree
    assert left is not None
    assert right is not None
    return ("sub", left, right)


def _constant_ratio(first: Node, second: Node) -> float | bool | None:
    """Give the constant quotient of two trees, False where it is not constant, None where it is open."""
    names = variables_of(first) | variables_of(second)
    ratio: Node = ("div", first, second)
    here, *others = (point_for(names, seed) for seed in (1, 2, 3))
    try:
        value = evaluate(ratio, here)
        for point in others:
            verdict = same_value(evaluate(ratio, point), value)
            if not (_decide_tie((ratio, point), (ratio, here)) if verdict is None else verdict):
                return False
        number = approximate(value).value
    except NoValue:
        return None
    return None if number == 0 or abs(number.imag) > 1e-9 else number.real
