"""`summary.json`: the counters of a build, by type and in all."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import metamath_ray
from metamath_ray.bootstrap._export import released_type
from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.bootstrap._run_dir import write_text
from metamath_ray.bootstrap._selection import Selection
from metamath_ray.teacher import Counters

VERDICTS = ("correct", "incorrect", "no_answer", "truncated", "failed")


def count_by_type(
    table: pa.Table, selection: Selection, options: BuildOptions
) -> dict[str, dict[str, int | None]]:
    """For each type: questions, paths by verdict, rows selected, and the target (None where there is none)."""
    selected: dict[str, int] = {}
    for row in selection.rows:
        selected[row.type] = selected.get(row.type, 0) + 1
    targets = options.target_rows()
    counts: dict[str, dict[str, int | None]] = {}
    for source, augmentation in sorted(_cells(table)):
        cell = table.filter(
            pc.and_(
                pc.equal(table.column("source"), source), pc.equal(table.column("augmentation"), augmentation)
            )
        )
        name = released_type(source, augmentation)
        target = targets.get((source, augmentation))
        counts[name] = _count_cell(cell) | {"selected": selected.get(name, 0), "target": target}
    return counts


def write_summary(
    folder: Path,
    *,
    options: BuildOptions,
    num_seeds_by_source: Mapping[str, int],
    num_skipped: int,
    num_duplicates: int,
    counters: Counters,
    by_type: Mapping[str, Mapping[str, int | None]],
    table: pa.Table,
    selection: Selection,
    num_rounds: int,
    dataset_sha256: str,
    seconds: float,
) -> Path:
    """Write `summary.json`; gives its path. Token and money counts: `teacher` this run, `ledger` all paths."""
    prompt_tokens = pc.sum(table.column("prompt_tokens")).as_py() or 0
    completion_tokens = pc.sum(table.column("completion_tokens")).as_py() or 0
    summary = {
        "version": metamath_ray.__version__,
        "seeds": sum(num_seeds_by_source.values()),
        "seeds_by_source": dict(num_seeds_by_source),
        "skipped_rows": num_skipped,
        "duplicate_seeds": num_duplicates,
        "teacher": {"model": options.teacher.model} | asdict(counters),
        "ledger": {
            "replies": table.num_rows - _count(table, "verdict", "failed"),
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "usd": options.teacher.usd(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens),
        },
        "by_type": {name: dict(counts) for name, counts in by_type.items()},
        "rounds": num_rounds,
        "unknown_verdicts": _count(table, "decided_by", "unknown"),
        "dropped": {reason: dict(counts) for reason, counts in selection.dropped.items()},
        "dropped_examples": {
            reason: [asdict(example) for example in examples]
            for reason, examples in selection.examples.items()
        },
        "rows": len(selection.rows),
        "dataset_sha256": dataset_sha256,
        "compat": options.compat,
        "seconds": round(seconds, 1),
    }
    path = folder / "summary.json"
    write_text(path, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return path


def _cells(table: pa.Table) -> set[tuple[str, Any]]:
    groups = table.select(["source", "augmentation"]).group_by(["source", "augmentation"]).aggregate([])
    return {(row["source"], row["augmentation"]) for row in groups.to_pylist()}


def _count_cell(cell: pa.Table) -> dict[str, int | None]:
    built = cell.filter(pc.not_equal(cell.column("question"), ""))
    unusable = cell.filter(pc.equal(cell.column("question"), ""))
    counts: dict[str, int | None] = {
        "questions": pc.count_distinct(built.column("question_id")).as_py(),
        "unusable_questions": pc.count_distinct(unusable.column("question_id")).as_py(),
        "paths": built.num_rows,
    }
    return counts | {verdict: _count(built, "verdict", verdict) for verdict in VERDICTS}


def _count(table: pa.Table, column: str, value: str) -> int:
    count: int = pc.sum(pc.equal(table.column(column), value)).as_py() or 0
    return count
