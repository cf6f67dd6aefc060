"""`summary.json`: the counters of a build, by type and in all."""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import metamath_ray
from metamath_ray.bootstrap._compat_difference import compare_rules
from metamath_ray.bootstrap._false_steps import find_false_steps
from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.bootstrap._plan import MAX_ROUNDS, Cell, CellYield
from metamath_ray.bootstrap._seeds import Seeds
from metamath_ray.bootstrap._selection_records import Selection
from metamath_ray.released import released_type
from metamath_ray.run_folder import write_whole
from metamath_ray.teacher import Counters, Usage

logger = logging.getLogger(__name__)

_RUN_DRY = (
    "every question was sampled as often as allowed; more seeds, --max-samples-per-question, "
    "--rephrasings-per-seed or --masks-per-seed give more"
)
_ROUND_LIMIT = f"the limit of {MAX_ROUNDS} rounds was reached"
VERDICTS = ("correct", "incorrect", "no_answer", "truncated", "failed")


@dataclass(frozen=True)
class Result:
    """What a build has brought, as its summary tells it. `counters` of this run, `bought` of all its ledger.

    `uniform_paths` of the cells that were sampled adaptively.
    """

    options: BuildOptions
    seeds: Seeds
    counters: Counters
    bought: Usage
    table: pa.Table
    selection: Selection
    yields: Mapping[Cell, CellYield]
    uniform_paths: Mapping[Cell, float | None]
    num_rounds: int
    hit_round_limit: bool
    dataset_sha256: str
    seconds: float


def write_summary(folder: Path, result: Result) -> Path:
    """Write `summary.json`; gives its path."""
    bought, selection = result.bought, result.selection
    by_type = _count_by_type(result)
    unmet = _unmet_targets(by_type, hit_round_limit=result.hit_round_limit)
    for name, miss in unmet.items():
        logger.warning("%s: %d of %d rows wanted: %s", name, miss["selected"], miss["target"], miss["why"])
    summary = {
        "version": metamath_ray.__version__,
        "seeds": len(result.seeds.problems),
        "seeds_by_source": result.seeds.count_by_source(),
        "skipped_rows": result.seeds.num_skipped,
        "duplicate_seeds": result.seeds.num_duplicates,
        "teacher": {"model": result.options.teacher.model} | asdict(result.counters),
        "ledger": asdict(bought) | {"usd": bought.usd(result.options.teacher)},
        "by_type": by_type,
        "unmet_targets": unmet,
        "adaptive_sampling": _compare_sampling(result),
        "compat_difference": compare_rules(
            result.table, selection.rows, result.seeds.problems, compat=result.options.compat
        ),
        "rounds": result.num_rounds,
        "dropped": {reason: dict(counts) for reason, counts in selection.dropped.items()},
        "dropped_examples": {
            reason: [asdict(example) for example in examples]
            for reason, examples in selection.examples.items()
        },
        "rows": len(selection.rows),
        "dataset_sha256": result.dataset_sha256,
        "compat": result.options.compat,
        "seconds": round(result.seconds, 1),
    }
    path = folder / "summary.json"
    write_whole(path, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return path


def _unmet_targets(
    by_type: Mapping[str, Mapping[str, int | None]], *, hit_round_limit: bool
) -> dict[str, dict[str, Any]]:
    """The types with fewer rows than asked for, and why no further round was sampled."""
    why = _ROUND_LIMIT if hit_round_limit else _RUN_DRY
    return {
        name: {"selected": counts["selected"], "target": target, "why": why}
        for name, counts in by_type.items()
        if (target := counts["target"]) is not None and (counts["selected"] or 0) < target
    }


def _compare_sampling(result: Result) -> dict[str, dict[str, float | int | None]]:
    """Reasoning paths and dollars for each row that selection would keep, and what uniform sampling would take.

    By type, of those that adaptive sampling was used for. Uniform sampling's are expected (`uniform_paths`), None
    where it would have run dry.
    """
    teacher = result.options.teacher
    compared: dict[str, dict[str, float | int | None]] = {}
    for (source, augmentation), uniform in sorted(result.uniform_paths.items()):
        built = _in_cell(result.table, source, augmentation)
        rows = result.yields[source, augmentation].rows
        paths = sum(one.paths for one in result.yields[source, augmentation].questions.values())
        prompt, completion = (
            pc.sum(built.column(name)).as_py() or 0 for name in ("prompt_tokens", "completion_tokens")
        )
        usd = teacher.usd(prompt_tokens=prompt, completion_tokens=completion)
        compared[released_type(source, augmentation)] = {
            "rows": rows,
            "paths": paths,
            "paths_per_row": paths / rows if rows else None,
            "usd_per_row": usd / rows if rows else None,
            "uniform_paths_per_row": uniform / rows if uniform and rows else None,
            "uniform_usd_per_row": usd / paths * uniform / rows if uniform and rows else None,
        }
    return compared


def _in_cell(table: pa.Table, source: str, augmentation: str) -> pa.Table:
    is_source = pc.equal(table.column("source"), source)
    return table.filter(pc.and_(is_source, pc.equal(table.column("augmentation"), augmentation)))


def _count_by_type(result: Result) -> dict[str, dict[str, int | None]]:
    """For each type: questions, paths by verdict, rows selected, those of them with a false arithmetic step, and
    the target (None where there is none).
    """
    selected = Counter(row.type for row in result.selection.rows)
    false = Counter(row.type for row in result.selection.rows if find_false_steps(row.response))
    targets = result.options.target_rows()
    table = result.table
    counts: dict[str, dict[str, int | None]] = {}
    sources = {seed.source for seed in result.seeds.problems}
    wanted = {cell for cell in targets if cell[0] in sources}
    for source, augmentation in sorted(_cells(table) | wanted):
        name = released_type(source, augmentation)
        target = targets.get((source, augmentation))
        counts[name] = _count_cell(_in_cell(table, source, augmentation)) | {
            "selected": selected[name],
            "false_steps": false[name],
            "target": target,
        }
    return counts


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
