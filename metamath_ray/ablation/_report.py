"""The report of an ablation: statistics, tables and the page, from the outcomes of its trials."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from metamath_ray import __version__
from metamath_ray.ablation._outcomes import MixInfo, Outcome
from metamath_ray.ablation._paper_numbers import (
    PAPER_MODEL,
    PaperNumber,
    find_paper_number,
    find_paper_numbers,
)
from metamath_ray.ablation._statistics import NUM_RESAMPLES, BenchmarkStatistics, compare_mixes
from metamath_ray.ablation._table import Table, pairs_csv, table_csv, table_latex, table_markdown
from metamath_ray.ablation._verdicts import align_outcomes
from metamath_ray.reports import write_ablation_report
from metamath_ray.run_folder import write_whole

STATISTICS_FILE = "statistics.json"

_SEED = 0


def write_report(
    folder: Path, outcomes: Sequence[Outcome], mixes: Sequence[MixInfo], *, splits: Mapping[str, str]
) -> dict[str, object]:
    """Write what an ablation found into `folder`, and give what `statistics.json` holds.

    Beside that: `table.csv`, `pairs.csv`, `table.tex`, `table.md` and `report.html`. Mixes and benchmarks stand in
    the order of `mixes` and `splits` (`dev` or `test` by benchmark); those without an outcome have no score. The
    same outcomes give the same bytes. Raises `ValueError`, in one line, for outcomes that can't be compared.
    """
    names = [mix.name for mix in mixes]
    verdicts = align_outcomes(outcomes, mixes=names, benchmarks=splits)
    if not verdicts:
        raise ValueError("there is no outcome to report: no trial has finished")
    table = Table(
        mixes=tuple(mixes),
        statistics=tuple(compare_mixes(name, by_mix) for name, by_mix in verdicts.items()),
        splits=splits,
        paper={
            (mix.name, name): number
            for mix in mixes
            for name, by_mix in verdicts.items()
            if mix.name in by_mix and (number := find_paper_number(mix, name, split=splits[name]))
        },
    )
    return _write(folder, table)


def _write(folder: Path, table: Table) -> dict[str, object]:
    folder.mkdir(parents=True, exist_ok=True)
    statistics = _document(table)
    text = json.dumps({"version": __version__, **statistics}, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / STATISTICS_FILE, text + "\n")
    write_whole(folder / "table.csv", table_csv(table))
    write_whole(folder / "pairs.csv", pairs_csv(table))
    write_whole(folder / "table.tex", table_latex(table))
    write_whole(folder / "table.md", table_markdown(table))
    write_ablation_report(folder)
    return statistics


def _document(table: Table) -> dict[str, object]:
    return {
        "num_resamples": NUM_RESAMPLES,
        "resampling_seed": _SEED,
        "mixes": [asdict(mix) for mix in table.mixes],
        "benchmarks": [_benchmark(one, table) for one in table.statistics],
        "paper": {
            "model": PAPER_MODEL,
            "numbers": [_number(one) for one in find_paper_numbers(table.shown_mixes)],
        },
    }


def _benchmark(one: BenchmarkStatistics, table: Table) -> dict[str, Any]:
    papers = {mix: _number(number) for (mix, name), number in table.paper.items() if name == one.benchmark}
    scores = [
        {
            **asdict(score),
            "by_seed": [{"seed": seed, "accuracy": share} for seed, share in score.by_seed.items()],
            "paper": papers.get(score.mix),
        }
        for score in one.scores
    ]
    return {**asdict(one), "split": table.splits[one.benchmark], "scores": scores}


def _number(number: PaperNumber) -> dict[str, Any]:
    return {**asdict(number), "accuracy": dict(number.accuracy)}
