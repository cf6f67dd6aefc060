"""Compare two shapes: true, false, or `None` where only a computer algebra system could tell."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from metamath_ray.answers._identity import same_expression, same_relation
from metamath_ray.answers._shape import Bracketed, Items, Matrix, Relation, Scalar, Shape, Words, is_name
from metamath_ray.answers._tidy import squash
from metamath_ray.answers._units import conversion

_MAX_OPEN = 32
_FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}


def same_shape(predicted: Shape, gold: Shape) -> bool | None:
    """Tell whether two answers are the same; the gold's form says which liberties are allowed."""
    predicted = _as_other(predicted, gold)
    gold = _as_other(gold, predicted)
    if isinstance(predicted, Words) or isinstance(gold, Words):
        return _same_words(predicted, gold)
    if isinstance(predicted, Scalar) and isinstance(gold, Scalar):
        return _same_scalar(predicted, gold)
    if isinstance(predicted, Items) and isinstance(gold, Items):
        return _same_items(predicted, gold)
    if isinstance(predicted, Items) and isinstance(gold, Scalar) and _all_are(predicted, gold):
        return True
    if isinstance(predicted, Bracketed) and isinstance(gold, Bracketed):
        if (predicted.opening, predicted.closing) != (gold.opening, gold.closing):
            return False
        return _same_in_order(predicted.items, gold.items)
    if isinstance(predicted, Matrix) and isinstance(gold, Matrix):
        return _same_matrix(predicted, gold)
    if isinstance(predicted, Relation) and isinstance(gold, Relation):
        return same_relation(predicted, gold)
    return _unlike(predicted, gold)


def _all_are(predicted: Items, gold: Scalar) -> bool:
    """Tell whether a list says the same answer in several forms: `\\frac{1}{2} or 0.5`."""
    items = predicted.items
    return predicted.kind == "list" and bool(items) and all(same_shape(item, gold) is True for item in items)


def _unlike(predicted: Shape, gold: Shape) -> bool | None:
    """Judge two shapes of different kinds, after all allowed changes of form: only unread text is open."""
    if isinstance(predicted, Scalar) and isinstance(gold, Scalar | Relation):
        return None if predicted.tree is None and not predicted.base else False
    return None if isinstance(gold, Scalar) and gold.tree is None and not gold.base else False


def _as_other(shape: Shape, other: Shape) -> Shape:
    """Give the shape in the other's form where the two forms say the same."""
    if isinstance(shape, Relation):
        return _relation_as(shape, other)
    if isinstance(shape, Items):
        return _items_as(shape, other)
    if isinstance(shape, Bracketed) and isinstance(other, Items) and _may_be_list(shape, other):
        return Items("list", shape.items)
    if isinstance(shape, Matrix) and isinstance(other, Bracketed):
        return _vector(shape)
    if isinstance(shape, Bracketed) and isinstance(other, Matrix):
        return _rows(shape)
    return shape


def _rows(shape: Bracketed) -> Shape:
    """Give `[[1, 2], [3, 4]]` as a matrix."""
    rows = [item.items for item in shape.items if isinstance(item, Bracketed) and item.opening == "["]
    return Matrix(tuple(rows)) if shape.opening == "[" and len(rows) == len(shape.items) else shape


def _may_be_list(shape: Bracketed, other: Items) -> bool:
    return _is_tuple(shape) and other.kind == "list" and not _has_brackets(other.items)


def _is_tuple(shape: Shape) -> bool:
    return isinstance(shape, Bracketed) and shape.opening == "(" and shape.closing == ")"


def _has_brackets(items: Iterable[Shape]) -> bool:
    return any(isinstance(item, Bracketed) for item in items)


def _relation_as(relation: Relation, other: Shape) -> Shape:
    if set(relation.signs) <= {"=", "\\equiv"} and not _both_assign_otherwise(relation, other):
        if is_name(relation.sides[0]):
            return _last_side(relation)
        if not isinstance(other, Relation) and is_name(relation.sides[-1]):
            return relation.sides[0]
        if not isinstance(other, Relation) and len(relation.sides) > 1 and _numeric_chain(relation):
            return relation.sides[-1]
    if isinstance(other, Bracketed) or (isinstance(other, Items) and other.kind == "union"):
        return _interval(relation) or relation
    return relation


def _both_assign_otherwise(relation: Relation, other: Shape) -> bool:
    """Tell whether dropping the left side could lose something: the other is a relation about other names."""
    if not isinstance(other, Relation):
        return False
    if set(other.signs) != {"="} or not is_name(other.sides[0]) or not is_name(relation.sides[0]):
        return True
    first, second = (side.text.replace(" ", "") for side in (relation.sides[0], other.sides[0]))
    return first != second and not any(_is_title(name) for name in (first, second))


def _is_title(name: str) -> bool:
    """Tell whether a name stands for any quantity: `f(x)`, `\\text{Area}`, a word; a variable does not."""
    return "(" in name or "\\text" in name or (len(name) > 2 and name.isalpha())


def _last_side(relation: Relation) -> Shape:
    return relation.sides[-1]


def _numeric_chain(relation: Relation) -> bool:
    """Tell whether all sides are equal numbers, as in the worked answer `20 * 3 = 60`."""
    last = relation.sides[-1]
    return all(
        same_expression(side, last, Fraction(1, 100) ** (side.percent - last.percent)) is True
        and not _has_variables(side)
        for side in relation.sides[:-1]
    )


def _has_variables(side: Scalar) -> bool:
    return any(character.isalpha() for character in side.text.replace("\\frac", "").replace("\\sqrt", ""))


def _interval(relation: Relation) -> Bracketed | None:
    """Give `a < x \\le b` or `x > a` as an interval."""
    sides, signs = relation.sides, relation.signs
    if len(sides) == 2 and is_name(sides[1]) and signs[0] in _FLIPPED:
        sides, signs = (sides[1], sides[0]), (_FLIPPED[signs[0]],)
    if len(sides) == 2 and is_name(sides[0]) and signs[0] in _FLIPPED:
        return _half_line(sides[1], signs[0])
    if len(sides) != 3 or not is_name(sides[1]):
        return None
    if signs[0] in (">", "\\ge") and signs[1] in (">", "\\ge"):
        sides, signs = sides[::-1], (_FLIPPED[signs[1]], _FLIPPED[signs[0]])
    if signs[0] not in ("<", "\\le") or signs[1] not in ("<", "\\le"):
        return None
    return Bracketed(_edge(signs[0], "(["), _edge(signs[1], ")]"), (sides[0], sides[2]))


def _half_line(bound: Scalar, sign: str) -> Bracketed:
    infinity = Scalar("\\infty", ("var", "\\infty"))
    if sign in (">", "\\ge"):
        return Bracketed(_edge(sign, "(["), ")", (bound, infinity))
    below = Scalar("-\\infty", ("neg", ("var", "\\infty")))
    return Bracketed("(", _edge(sign, ")]"), (below, bound))


def _edge(sign: str, brackets: str) -> str:
    return brackets[1] if sign in ("\\le", "\\ge") else brackets[0]


def _items_as(items: Items, other: Shape) -> Shape:
    if items.kind != "list" and len(items.items) == 1 and isinstance(other, Scalar):
        return items.items[0]
    if items.kind != "list":
        return items
    plain = tuple(_assigned(item) for item in items.items)
    if (
        isinstance(other, Bracketed)
        and not _has_brackets(plain)
        and other.opening == "("
        and other.closing == ")"
    ):
        return Bracketed("(", ")", plain)
    if isinstance(other, Items) and all(isinstance(item, Relation) for item in other.items):
        return items
    if isinstance(other, Items) and other.kind == "union":
        ranges = [_interval(item) if isinstance(item, Relation) else item for item in items.items]
        return Items("union", tuple(item for item in ranges if item is not None))
    return Items("list", plain)


def _assigned(item: Shape) -> Shape:
    if isinstance(item, Relation) and item.signs == ("=",) and is_name(item.sides[0]):
        return item.sides[1]
    return item


def _vector(matrix: Matrix) -> Shape:
    """Give a row or column of a matrix as a tuple."""
    if len(matrix.rows) == 1:
        return Bracketed("(", ")", matrix.rows[0])
    if all(len(row) == 1 for row in matrix.rows):
        return Bracketed("(", ")", tuple(row[0] for row in matrix.rows))
    return matrix


def _same_words(predicted: Shape, gold: Shape) -> bool | None:
    first, second = _letters(predicted), _letters(gold)
    if first is None or second is None:
        return False
    return first == second


def _letters(shape: Shape) -> str | None:
    if isinstance(shape, Words | Scalar):
        letters = squash(shape.text.lower().replace("\\text", "")).strip("(){}.$\"'")
        return letters.removesuffix("s") if len(letters) > 4 else letters  # `no solution`, `no solutions`
    return None


def _same_scalar(predicted: Scalar, gold: Scalar) -> bool | None:
    if predicted.base or gold.base:
        return _same_base(predicted, gold)
    if predicted.percent or gold.percent:
        return _same_percent(predicted, gold)
    factor = conversion(predicted.unit, gold.unit)
    if factor is None:
        return False
    verdict = same_expression(predicted, gold, factor)
    scale = predicted.unit.scale if predicted.unit else 1
    gold_scale = gold.unit.scale if gold.unit else 1
    if verdict is False and scale != gold_scale:
        return same_expression(predicted, gold, Fraction(scale, gold_scale))
    return verdict


def _same_base(predicted: Scalar, gold: Scalar) -> bool:
    """Compare digits and base; the base may be left out of the prediction, never the form changed."""
    digits, _, base = predicted.base.partition("_")
    gold_digits, _, gold_base = gold.base.partition("_")
    if not gold.base:
        return base == "10" and digits == gold.text
    if not predicted.base:
        return predicted.text.upper().replace(" ", "") == gold_digits
    return (digits, base) == (gold_digits, gold_base)


def _same_percent(predicted: Scalar, gold: Scalar) -> bool | None:
    """Compare where a side has a percent sign; it may be missing, and a gold in percent has a value too."""
    as_unit = same_expression(predicted, gold)
    if predicted.percent and gold.percent:
        return as_unit
    if gold.percent:
        return as_unit or same_expression(predicted, gold, Fraction(100))
    as_value = same_expression(predicted, gold, Fraction(1, 100))
    return as_value if "." in gold.text or "/" in gold.text or "\\frac" in gold.text else as_unit or as_value


def _same_items(predicted: Items, gold: Items) -> bool | None:
    first, second = list(predicted.items), list(gold.items)
    if "set" in (predicted.kind, gold.kind):
        first, second = _distinct(first), _distinct(second)
    if len(first) != len(second) or ("union" in (predicted.kind, gold.kind) and predicted.kind != gold.kind):
        return False
    return _same_in_any_order(first, second)


def _distinct(items: list[Shape]) -> list[Shape]:
    kept: list[Shape] = []
    for item in items:
        if not any(same_shape(item, other) for other in kept):
            kept.append(item)
    return kept


def _same_in_order(first: Sequence[Shape], second: Sequence[Shape]) -> bool | None:
    if len(first) != len(second):
        return False
    return _all(same_shape(a, b) for a, b in zip(first, second, strict=True))


def _same_in_any_order(first: list[Shape], second: list[Shape]) -> bool | None:
    """Pair the items off; equality is transitive, so that the first partner found is as good as any."""
    rest, num_open = list(second), 0
    for item in first:
        verdicts = [same_shape(item, other) for other in rest]
        if True in verdicts:
            rest.pop(verdicts.index(True))
        elif None not in verdicts:
            return False
        num_open += verdicts.count(None)
        if num_open > _MAX_OPEN:  # values too large to compute, each of which took its time
            return None
    return None if len(rest) else True


def _same_matrix(predicted: Matrix, gold: Matrix) -> bool | None:
    if [len(row) for row in predicted.rows] != [len(row) for row in gold.rows]:
        return False
    return _all(_same_in_order(a, b) for a, b in zip(predicted.rows, gold.rows, strict=True))


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    undecided = False
    for verdict in verdicts:
        if verdict is False:
            return False
        undecided = undecided or verdict is None
    return None if undecided else True
