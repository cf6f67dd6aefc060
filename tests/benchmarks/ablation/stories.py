"""Word problems of the bundled set's sort, written by a program: questions, solutions, and the way back from an answer."""

import ast
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import yaml

_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_LARGEST = 60


@dataclass(frozen=True, slots=True)
class Wording:
    """A way to tell and ask a problem, and the statement that its question becomes with the answer."""

    told: str
    asked: str
    statement: str


@dataclass(frozen=True, slots=True)
class Story:
    """A kind of problem: a formula over a, b, c, the ranges of these, and the words for it."""

    name: str
    formula: str
    ranges: dict[str, tuple[int, int]]
    things: tuple[str, ...]
    steps: tuple[str, ...]
    wordings: tuple[Wording, ...]


@dataclass(frozen=True)
class StoryProblem:
    """A story with its numbers, all different, and its names; `wording` is the one in which it is published."""

    story: Story
    numbers: dict[str, int]
    words: dict[str, str]
    wording: int

    def question(self, wording: int | None = None) -> str:
        """The question in the wording of this place, or in its own."""
        one = self.story.wordings[self.wording if wording is None else wording]
        return self._fill(f"{one.told} {one.asked}".strip())

    def statement(self, wording: int | None = None) -> str:
        """What the question becomes with the answer."""
        one = self.story.wordings[self.wording if wording is None else wording]
        return self._fill(one.statement)

    @property
    def key(self) -> tuple[str | int, ...]:
        """What no two drawn problems share: story and numbers."""
        return (self.story.name, *self.numbers.values())

    @property
    def answer(self) -> int:
        """The answer, a whole number."""
        return int(_compute(_parse(self.story.formula), self.numbers))

    def calculations(self) -> list[str]:
        """`4 * 6 = 24` for each operation, inner ones first."""
        return list(_calculate(_parse(self.story.formula), self.numbers))

    def told_steps(self, calculations: Sequence[str]) -> str:
        """The calculations in the story's own words, a line each."""
        lines = (step.replace("{}", one) for step, one in zip(self.story.steps, calculations, strict=True))
        return "\n".join(map(self._fill, lines))

    def way_back(self, masked: str) -> list[str]:
        """Lines from the equation with x in the place of the number `masked` (a, b or c) to x."""
        tree = _parse(self.story.formula)
        equation = f"{_write(tree, self.numbers, masked)} = {self.answer}"
        return [equation, *_undo(tree, Fraction(self.answer), self.numbers, masked)]

    def _fill(self, text: str) -> str:
        return text.format(**self.numbers, **self.words, r=self.answer)


@cache
def load_stories() -> tuple[tuple[str, ...], tuple[Story, ...]]:
    """Names of people, and all stories."""
    document = yaml.safe_load((Path(__file__).parent / "stories.yaml").read_text(encoding="utf-8"))
    stories = []
    for name, fields in document["stories"].items():
        ranges = {slot: tuple(map(int, text.split("-"))) for slot, text in fields["numbers"].items()}
        wordings = tuple(Wording(*texts) for texts in fields["wordings"])
        words = tuple(fields["things"]), tuple(fields["steps"])
        stories.append(Story(name, fields["formula"], ranges, *words, wordings))
    return tuple(document["names"]), tuple(stories)


def draw_problems(seed: str) -> Iterator[StoryProblem]:
    """Problems without end, each story as often as another; no two have the same story and numbers."""
    names, stories = load_stories()
    chance = random.Random(seed)
    seen = set()
    while True:
        for story in stories:
            numbers = _draw_numbers(story, chance)
            name, other = chance.sample(names, 2)
            words = {"name": name, "other": other, "thing": chance.choice(story.things)}
            problem = StoryProblem(story, numbers, words, chance.randrange(len(story.wordings)))
            if problem.key not in seen:
                seen.add(problem.key)
                yield problem


def _draw_numbers(story: Story, chance: random.Random) -> dict[str, int]:
    tree = _parse(story.formula)
    while True:
        numbers = {slot: chance.randint(*ends) for slot, ends in story.ranges.items()}
        results = [_compute(node, numbers) for node in ast.walk(tree) if isinstance(node, ast.BinOp)]
        are_fit = all(one.denominator == 1 and 1 < one <= _LARGEST for one in results)
        if are_fit and len({*numbers.values(), results[0]}) > len(numbers):
            return numbers


def _parse(formula: str) -> ast.expr:
    return ast.parse(formula, mode="eval").body


def _compute(node: ast.expr, numbers: dict[str, int]) -> Fraction:
    if isinstance(node, ast.BinOp):
        left, right = _compute(node.left, numbers), _compute(node.right, numbers)
        return _apply(_SIGNS[type(node.op)], left, right)
    return Fraction(numbers[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node))


def _apply(sign: str, left: Fraction, right: Fraction) -> Fraction:
    if sign in "+-":
        return left + right if sign == "+" else left - right
    return left * right if sign == "*" else left / right


def _calculate(node: ast.expr, numbers: dict[str, int]) -> Iterator[str]:
    if isinstance(node, ast.BinOp):
        yield from _calculate(node.left, numbers)
        yield from _calculate(node.right, numbers)
        left, right = _compute(node.left, numbers), _compute(node.right, numbers)
        yield f"{left} {_SIGNS[type(node.op)]} {right} = {_compute(node, numbers)}"


def _write(node: ast.expr, numbers: dict[str, int], masked: str) -> str:
    if isinstance(node, ast.BinOp):
        left, right = (_write(side, numbers, masked) for side in (node.left, node.right))
        sign = _SIGNS[type(node.op)]
        if sign in "*/":
            left, right = (f"({side})" if re.search(r" [+-] ", side) else side for side in (left, right))
        return f"{left} {sign} {right}"
    if isinstance(node, ast.Name) and node.id == masked:
        return "x"
    return str(_compute(node, numbers))


def _holds(node: ast.expr, masked: str) -> bool:
    return any(isinstance(one, ast.Name) and one.id == masked for one in ast.walk(node))


def _undo(node: ast.expr, value: Fraction, numbers: dict[str, int], masked: str) -> Iterator[str]:
    """Lines that take the operations off the side that holds x, the outer one first."""
    if not isinstance(node, ast.BinOp):
        return
    is_left = _holds(node.left, masked)
    inner, other = (node.left, node.right) if is_left else (node.right, node.left)
    yield from _calculate(other, numbers)
    known, sign = _compute(other, numbers), _SIGNS[type(node.op)]
    if sign in "+*":
        left, undo, right = value, "-/"[sign == "*"], known
    elif is_left:
        left, undo, right = value, "+*"[sign == "/"], known
    else:
        left, undo, right = known, sign, value
    found = _apply(undo, left, right)
    yield f"{_write(inner, numbers, masked)} = {left} {undo} {right} = {found}"
    yield from _undo(inner, found, numbers, masked)
