"""The analyses one after another, their tables, and the summary."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from metamath_ray import __version__
from metamath_ray.analysis._correlation import analyze_correlation
from metamath_ray.analysis._diversity import analyze_diversity
from metamath_ray.analysis._length import analyze_length
from metamath_ray.analysis._options import AnalysisName
from metamath_ray.analysis._overlap import analyze_overlap
from metamath_ray.analysis._perplexity import analyze_perplexity
from metamath_ray.analysis._plan import AnalysisPlan, output_identity
from metamath_ray.analysis._row_sets import RowSet
from metamath_ray.analysis._tables import write_table
from metamath_ray.analysis._workers import OnProgress
from metamath_ray.run_folder import open_run_folder, write_whole

Outcome = tuple[Any, dict[str, pa.Table]]
"""An analysis's result, and its tables by name."""


def run_analyses(plan: AnalysisPlan, *, on_progress: OnProgress = lambda *_: None) -> Path:
    """Run what the plan asks for, on Ray Data where Ray runs; gives the path of `summary.json`.

    Into `options.output` go `config.yaml`, each table as Parquet and CSV as soon as its analysis is done, and the
    summary at the end. Raises `EndpointFailedError` where an endpoint fails for good (what was embedded is kept),
    and `ValueError` for an output folder made with other options.
    """
    started = time.monotonic()
    config = plan.options.model_dump(mode="json")
    with open_run_folder(plan.options.output, config, identity=output_identity, option="--output") as folder:
        summary: dict[str, Any] = {
            "version": __version__,
            "analyses": list(plan.options.analyses),
            "data": _describe(plan.data),
            "base": _describe(plan.base),
        }
        for name, (result, tables) in _outcomes(plan, on_progress):
            for table_name, table in tables.items():
                write_table(table, folder, table_name)
            summary[name] = asdict(result)
        summary["seconds"] = round(time.monotonic() - started, 3)
        text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
        return write_whole(folder / "summary.json", text + "\n")


def _outcomes(plan: AnalysisPlan, on_progress: OnProgress) -> Iterator[tuple[AnalysisName, Outcome]]:
    for name in plan.options.analyses:
        yield name, _analyze(name, plan, on_progress)


def _analyze(name: AnalysisName, plan: AnalysisPlan, on_progress: OnProgress) -> Outcome:
    if name == "length":
        length, table = analyze_length(plan.predictions)
        return length, {"length": table}
    if name == "correlation":
        assert plan.mixes is not None
        correlation, table = analyze_correlation(*plan.mixes)
        return correlation, {"correlation": table}
    assert plan.data is not None
    if name == "perplexity":
        assert plan.scorer is not None
        sets = [("data", plan.data), *([("base", plan.base)] if plan.base else [])]
        perplexity, table = analyze_perplexity(
            sets, setup=plan.scorer, options=plan.options, on_progress=on_progress
        )
        return perplexity, {"perplexity": table}
    return _analyze_against_base(name, plan, plan.data, on_progress)


def _analyze_against_base(
    name: AnalysisName, plan: AnalysisPlan, data: RowSet, on_progress: OnProgress
) -> Outcome:
    assert plan.base is not None
    if name == "overlap":
        overlap, rows, pairs = analyze_overlap(
            data, plan.base, options=plan.options.overlap, on_progress=on_progress
        )
        return overlap, {"overlap": rows, "overlap_pairs": pairs}
    assert plan.store is not None
    text = plan.options.diversity.text
    diversity, table = analyze_diversity(
        data.without_blank(text),
        plan.base.without_blank(text),
        store=plan.store,
        options=plan.options,
        on_progress=on_progress,
    )
    return diversity, {"diversity": table}


def _describe(row_set: RowSet | None) -> dict[str, Any] | None:
    if row_set is None:
        return None
    return {
        "name": row_set.name,
        "rows": len(row_set.rows),
        "by_type": row_set.by_type(),
        "blank": row_set.num_blank,
    }
