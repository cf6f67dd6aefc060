"""The wrong answers and flipped items in the pages' browsers: a fixed share, with their texts."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from metamath_ray.reports._evaluation_run import (
    COLUMNS,
    ComparisonDocument,
    Evaluation,
    RuleSet,
    read_greedy,
)
from metamath_ray.reports._samples import MAX_BYTES, clip, embed_json
from metamath_ray.reports._scan import share_out

_T = TypeVar("_T")

MAX_ITEMS = 600
"""Items in a browser at most."""

_CLIPPED = ("question", "completion", "completion_b")
_SHORT = 200
_LONG = 4_000


class PromptTemplates:
    """What stands around the questions in the prompts, each text once, however many items have it."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, str]] = []
        self._places: dict[tuple[str, str], int] = {}

    def place_of(self, prompt: str, question: str) -> int:
        """The number of the prompt's template; the question stands between its two texts."""
        before, found, after = prompt.rpartition(question)
        around = (clip(before, _LONG), clip(after, _LONG)) if found else (clip(prompt, _LONG), "")
        if around not in self._places:
            self._places[around] = len(self.texts)
            self.texts.append(around)
        return self._places[around]


def load_wrong_answers(
    evaluation: Evaluation, templates: PromptTemplates
) -> tuple[list[dict[str, Any]], int]:
    """At most `MAX_ITEMS` greedy completions that are not correct under both rule sets, and how many there are.

    Every pair of benchmark and verdict has an equal share as far as it has that many, spread over the file.
    """
    strata: dict[tuple[str, str], list[int]] = {}
    for name, path in evaluation.tables.items():
        table = read_greedy(path, ["verdict_fixed", "verdict_paper"])
        verdicts = zip(*(table.column(column).to_pylist() for column in table.column_names), strict=True)
        for row, (fixed, paper) in enumerate(verdicts):
            if fixed != "correct" or paper != "correct":
                key = (name, fixed if evaluation.summary.grader == "fixed" else paper)
                strata.setdefault(key, []).append(row)
    quotas = share_out({key: len(rows) for key, rows in strata.items()}, MAX_ITEMS)
    items = []
    for name, path in evaluation.tables.items():
        chosen = sorted(
            row for key, rows in strata.items() if key[0] == name for row in _spread(rows, quotas[key])
        )
        for row in read_greedy(path, COLUMNS).take(pa.array(chosen, pa.int64())).to_pylist():
            items.append(_item(row, templates) | {"benchmark": name})
    return _within_budget(items), sum(map(len, strata.values()))


def load_flips(
    document: ComparisonDocument, a: Path, b: Path, *, rules: RuleSet, templates: PromptTemplates
) -> tuple[list[dict[str, Any]], int]:
    """At most `MAX_ITEMS` flipped items with both completions, and how many there are."""
    strata = {
        (name, ""): [flip.problem_id for flip in paired.under(rules).flips]
        for name, paired in document.benchmarks.items()
    }
    quotas = share_out({key: len(flips) for key, flips in strata.items()}, MAX_ITEMS)
    items = []
    for (name, _), flips in strata.items():
        chosen = _spread(flips, quotas[name, ""])
        rows_a, rows_b = (_rows_by_id(folder, name, chosen) for folder in (a, b))
        for problem_id in chosen:
            item = _item(rows_a[problem_id], templates) | {"benchmark": name}
            items.append(item | _other_side(rows_b[problem_id]))
    return _within_budget(items), sum(map(len, strata.values()))


def _rows_by_id(folder: Path, benchmark: str, wanted: Iterable[str]) -> dict[str, dict[str, Any]]:
    names = set(wanted)
    table = read_greedy(folder / "predictions" / f"{benchmark}.parquet", COLUMNS)
    places = [place for place, one in enumerate(table.column("problem_id").to_pylist()) if one in names]
    return {row["problem_id"]: row for row in table.take(pa.array(places, pa.int64())).to_pylist()}


def _spread(items: list[_T], count: int) -> list[_T]:
    return [items[number * len(items) // count] for number in range(count)]


def _item(row: Mapping[str, Any], templates: PromptTemplates) -> dict[str, Any]:
    item = {name: row[name] or "" for name in COLUMNS if name != "prompt"}
    item["template"] = templates.place_of(row["prompt"], row["question"])
    return {name: _clipped(name, value) for name, value in item.items()}


def _other_side(row: Mapping[str, Any]) -> dict[str, Any]:
    names = (
        "completion", "finish_reason", "extracted_fixed", "verdict_fixed", "extracted_paper", "verdict_paper"
    )  # fmt: skip
    return {f"{name}_b": _clipped(f"{name}_b", row[name] or "") for name in names}


def _clipped(name: str, value: Any) -> Any:
    return clip(value, _LONG if name in _CLIPPED else _SHORT) if isinstance(value, str) else value


def _within_budget(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All items, or every second, third, … of them, so that the page stays below 2 MB."""
    sizes = [len(embed_json(item).encode("utf-8", "replace")) + 1 for item in items]
    step = 1
    while sum(sizes[::step]) > MAX_BYTES:
        step += 1
    return items[::step]
