"""A finished evaluation scored again: verdicts, tables and summary anew from the saved completions, no model."""

from dataclasses import dataclass
from pathlib import Path

from metamath_ray.answers import RuleSet, SymbolicPool
from metamath_ray.evaluation._grading import grade_predictions
from metamath_ray.evaluation._predictions import Prediction, predictions_path, write_predictions
from metamath_ray.evaluation._scores import score_benchmark
from metamath_ray.evaluation._summary import (
    load_all_predictions,
    load_provenance,
    load_summary,
    write_summary,
)
from metamath_ray.run_folder import CONFIG_FILE, load_config, open_run_folder

RULE_SETS: tuple[RuleSet, ...] = ("fixed", "paper")


@dataclass(frozen=True, slots=True)
class Regraded:
    """One benchmark scored again: its predictions, and how many have another verdict than before."""

    predictions: tuple[Prediction, ...]
    num_changed: dict[RuleSet, int]


def regrade_evaluation(output: Path, *, grader: RuleSet | None = None) -> tuple[Path, dict[str, Regraded]]:
    """Grade what an evaluation saved by today's rules and write its summary again; gives path and changes.

    `grader` None keeps the rules of the headline. Raises `ValueError` where the folder is no finished evaluation, or
    is in use.
    """
    config = output / CONFIG_FILE
    if not config.is_file():
        raise ValueError(f"{config} is missing: {output} is no folder of an evaluation")
    with open_run_folder(
        output, load_config(config), identity=lambda same: same, option="--output"
    ) as folder:
        before = load_summary(folder)
        regraded = regrade(folder)
        summary = write_summary(
            folder,
            [score_benchmark(name, one.predictions) for name, one in regraded.items()],
            grader=grader or before["grader"],
            provenance=load_provenance(folder),
            seconds=before["seconds"],
            num_reused=before["completions_reused"],
            timings=before.get("timings"),
        )
    return summary, regraded


def regrade(output: Path) -> dict[str, Regraded]:
    """Score the saved predictions of every benchmark again, write those tables that change, tell what changed.

    Raises as `load_all_predictions` does.
    """
    with SymbolicPool() as pool:
        return {
            name: _regrade_one(predictions_path(output, name), saved, pool)
            for name, saved in load_all_predictions(output).items()
        }


def _regrade_one(path: Path, saved: tuple[Prediction, ...], pool: SymbolicPool) -> Regraded:
    now = grade_predictions(saved, pool=pool)
    if now != saved:
        write_predictions(path, now, num_expected=len(saved))
    changed = {
        rules: sum(old.verdict(rules) != new.verdict(rules) for old, new in zip(saved, now, strict=True))
        for rules in RULE_SETS
    }
    return Regraded(now, changed)
