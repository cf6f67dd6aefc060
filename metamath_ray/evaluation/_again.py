"""A finished evaluation scored again: verdicts, tables and summary anew from the saved completions, no model."""

from pathlib import Path

import yaml

from metamath_ray.answers import RuleSet, SymbolicPool
from metamath_ray.evaluation._regrade import Regraded, regrade
from metamath_ray.evaluation._scores import score_benchmark
from metamath_ray.evaluation._summary import load_provenance, load_summary, write_summary
from metamath_ray.run_folder import CONFIG_FILE, Config, open_run_folder


def regrade_evaluation(output: Path, *, grader: RuleSet | None = None) -> tuple[Path, dict[str, Regraded]]:
    """Grade what an evaluation saved by today's rules and write its summary again; gives path and changes.

    `grader` None keeps the rules of the headline. Raises `ValueError` where the folder is no finished evaluation, or
    is in use.
    """
    config = _load_config(output / CONFIG_FILE)
    with open_run_folder(output, config, identity=lambda same: same, option="--output") as folder:
        before = load_summary(folder)
        with SymbolicPool() as pool:
            regraded = regrade(folder, pool=pool)
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


def _load_config(path: Path) -> Config:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: {path.parent} is no folder of an evaluation") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} can't be read: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold a mapping of options, got {type(config).__name__}")
    return config
