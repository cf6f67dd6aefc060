"""What the rounds so far have brought, by cell and by question: all that the next round is planned by."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from metamath_ray.bootstrap._plan import Cell, CellYield
from metamath_ray.bootstrap._sampling import QuestionKey, QuestionYield
from metamath_ray.bootstrap._selection import Survivors
from metamath_ray.problems import Problem

_QUESTION = ["source", "augmentation", "seed_id", "variant", "question_id", "is_built"]


def count_yields(
    table: pa.Table, survivors: Survivors, seeds: Sequence[Problem], samples_per_question: int
) -> dict[Cell, CellYield]:
    """The yields of all cells that were asked; a question that could not be built counts as its first samples."""
    indices = {seed.id: index for index, seed in enumerate(seeds)}
    rows, paths = survivors.count_by_question(), Counter[Cell]()
    questions: dict[Cell, dict[QuestionKey, QuestionYield]] = defaultdict(dict)
    for asked in _group_by_question(table):
        cell, key = (asked["source"], asked["augmentation"]), (indices[asked["seed_id"]], asked["variant"])
        if asked["is_built"]:
            paths[cell] += asked["paths"]
            brought = QuestionYield(asked["paths"], asked["correct"], rows[asked["question_id"]])
        else:  # also a rephrasing that was one alone, and beside an equal one is none
            paths[cell] += asked["paths"] * samples_per_question
            brought = replace(questions[cell].get(key, QuestionYield()), is_usable=False)
        questions[cell][key] = brought
    total = survivors.count()
    return {cell: CellYield(num_paths, total[cell], questions[cell]) for cell, num_paths in paths.items()}


def _group_by_question(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Paths asked and right of each question, in a fixed order; those that could be built come first."""
    correct = pc.cast(pc.equal(table.column("verdict"), "correct"), pa.int32())
    table = table.append_column("is_built", pc.not_equal(table.column("question"), ""))
    table = table.append_column("correct", correct).select([*_QUESTION, "correct"])
    groups = table.group_by(_QUESTION).aggregate([("correct", "count"), ("correct", "sum")])
    for group in groups.sort_by([("is_built", "descending"), ("question_id", "ascending")]).to_pylist():
        yield group | {"paths": group["correct_count"], "correct": group["correct_sum"]}
