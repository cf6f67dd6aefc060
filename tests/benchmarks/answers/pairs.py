"""Pairs for the benchmark, made from published golds: same value, near miss, another row's gold."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from metamath_ray.answers import find_boxed

Kind = Literal["same", "near", "other"]

_FRACTION = re.compile(r"\\[dt]?frac\{(-?\d+)\}\{(\d+)\}")
_NOT_NEGATED = (",", "=", "\\text", "mbox", "%", "circ", "_")
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True, slots=True)
class Pair:
    """A prediction, a gold, how the prediction was made, and what it was made to be."""

    kind: Kind
    how: str
    predicted: str
    gold: str


def read_rows(path: Path) -> list[dict[str, str]]:
    """Give the rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def math_golds(folder: Path) -> list[str]:
    """Give the distinct golds of MATH train and test, in order."""
    golds: dict[str, None] = {}
    for name in ("math_train.jsonl", "math_test.jsonl"):
        for row in read_rows(folder / name):
            golds.setdefault(find_boxed(row["solution"]) or "", None)
    return [gold for gold in golds if gold]


def make_pairs(golds: list[str], count: int, seed: int = 0) -> list[Pair]:
    """Give `count` pairs, a third of each kind, the same for the same seed."""
    chance = random.Random(seed)
    pairs: list[Pair] = []
    while len(pairs) < count:
        gold = chance.choice(golds)
        same, near = list(_same(gold, chance)), list(_near(gold, chance))
        other = chance.choice(golds)
        if not same or not near or other == gold:
            continue
        pairs.append(Pair("same", *chance.choice(same), gold))
        pairs.append(Pair("near", *chance.choice(near), gold))
        pairs.append(Pair("other", "another gold", other, gold))
    return pairs[:count]


def _same(gold: str, chance: random.Random) -> Iterator[tuple[str, str]]:
    yield from _same_layout(gold)
    if match := _FRACTION.search(gold):
        above, below = int(match[1]), int(match[2])
        if not gold[: match.start()].rstrip()[-1:].isdigit():
            yield "slash", gold[: match.start()] + f"({above}/{below})" + gold[match.end() :]
            unreduced = f"\\frac{{{3 * above}}}{{{3 * below}}}"
            yield "unreduced", gold[: match.start()] + unreduced + gold[match.end() :]
        if below and _terminates(below) and match[0] == gold:
            yield "decimal", _decimal(Fraction(above, below))
    if re.fullmatch(r"-?\d+", gold):
        yield "with point", gold + ".0"
        yield "named", f"x = {gold}"
        yield "sum", f"{int(gold) - 7} + 7"
    if (
        re.fullmatch(r"[\w\s,.\\{}+-]+", gold)
        and gold.count(",") in (1, 2, 3)
        and "{," not in gold
        and "!" not in gold
    ):
        parts = [part.strip() for part in gold.split(",")]
        if len(set(parts)) == len(parts) and all(parts) and not re.fullmatch(r"\d{1,3}(,\d{3})+", gold):
            chance.shuffle(parts)
            yield "list in another order", ", ".join(parts)
    if match := re.fullmatch(r"([^+\s(),=\\]+) ?\+ ?([^+\s(),=\\]+)", gold):
        yield "terms in another order", f"{match[2]} + {match[1]}"
    if match := re.search(r"\\sqrt\{(\d+)\}", gold):
        yield "power for root", gold[: match.start()] + f"({match[1]})^{{1/2}}" + gold[match.end() :]
        yield (
            "root of a product",
            gold[: match.start()] + f"\\frac{{\\sqrt{{{9 * int(match[1])}}}}}{{3}}" + gold[match.end() :],
        )


def _same_layout(gold: str) -> Iterator[tuple[str, str]]:
    """Give forms that look the same on paper."""
    if "\\frac" in gold:
        yield "wide fractions", gold.replace("\\frac", "\\dfrac")
    if " " in gold and "\\" not in gold:
        yield "no spaces", gold.replace(" ", "")
    if gold[0] == "(" and gold[-1] == ")":
        yield "growing brackets", f"\\left{gold[:-1]}\\right)"
    if re.fullmatch(r"[\d.]+ ?\\text\{ ?[a-z ]+\}", gold):
        yield "unit left out", gold.partition("\\text{")[0].strip()
    if "^\\circ" in gold and gold[0].isdigit() and "," not in gold:
        yield "degrees left out", gold.replace("^\\circ", "")
    yield "display style", f"\\displaystyle {gold}"


def _terminates(denominator: int) -> bool:
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator == 1


def _decimal(value: Fraction) -> str:
    return f"{float(value):.12f}".rstrip("0").rstrip(".")


def _near(gold: str, chance: random.Random) -> Iterator[tuple[str, str]]:
    digits = list(_DIGIT.finditer(gold))
    if digits:
        digit = chance.choice(digits)
        yield "one digit off", gold[: digit.start()] + str((int(digit[0]) + 1) % 10) + gold[digit.end() :]
        if gold[digit.start() - 1 : digit.start()] != "}":  # `\\frac{1}21` has the value of `\\frac{1}2`
            yield "a digit more", gold[: digit.end()] + "1" + gold[digit.end() :]
        if gold[0] not in "(-[\\xy0" and not any(part in gold for part in _NOT_NEGATED):
            yield "negated", f"-({gold})"
    if gold.startswith("(") and gold.endswith(")") and "," in gold and not gold.startswith("(-\\infty"):
        yield "other bracket", "[" + gold[1:]
    if " + " in gold:
        yield "minus for plus", gold.replace(" + ", " - ", 1)
    if (
        gold.startswith("\\frac{")
        and (match := _FRACTION.fullmatch(gold))
        and match[1].lstrip("-") != match[2]
    ):
        yield "upside down", f"\\frac{{{match[2]}}}{{{match[1]}}}"
