"""Benchmarks: their problems in file order, and how a backward one was made."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from metamath_ray.problems import Problem, load_problems, parse_spec

Kind = Literal["", "SV", "FOBAR"]
"""How a backward question was made; empty for a forward one."""

LimitOrder = Literal["spread", "first"]

_GSM_NAMES = ("gsm8k", "gsm8k_backward", "bundled", "bundled_backward")
_FOBAR = re.compile(r"\bIf we know the answer (?:of|to) the above question is\b")
_ASKS_FOR_X = re.compile(r"\b[Ww]hat is the value of (?:the )?unknown variable \$?[xX]\$?\s*\?\s*\Z")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The problems that are asked, in file order, and how many the whole set has."""

    name: str
    problems: tuple[Problem, ...]
    num_all: int


def load_benchmarks(
    specs: Sequence[str], *, limit: int | None = None, order: LimitOrder = "spread"
) -> tuple[Benchmark, ...]:
    """Each `NAME[:PATH]` as its test problems, `limit` of them at most.

    Raises `ValueError` that names file, line and field of a bad row, and for a name without the path that
    it needs; `FileNotFoundError` and `ModuleNotFoundError` as `load_problems` does.
    """
    return tuple(_load(spec, limit=limit, order=order) for spec in specs)


def kind_of(question: str) -> Kind:
    """Whether a question asks backward for `x`, and whether it gives the answer at its end (FOBAR) or not (SV)."""
    if not _ASKS_FOR_X.search(question):
        return ""
    return "FOBAR" if _FOBAR.search(question) else "SV"


def _load(text: str, *, limit: int | None, order: LimitOrder) -> Benchmark:
    spec = parse_spec(text)
    problems = load_problems(spec, split="test").problems
    if spec.name in _GSM_NAMES:
        problems = tuple(replace(problem, style="gsm") for problem in problems)
    return Benchmark(spec.name, _limited(problems, limit, order), len(problems))


def _limited(problems: tuple[Problem, ...], limit: int | None, order: LimitOrder) -> tuple[Problem, ...]:
    if limit is None or limit >= len(problems):
        return problems
    if order == "first":
        return problems[:limit]
    return tuple(problems[number * len(problems) // limit] for number in range(limit))
