"""`summary.json` of an evaluation: scores, and which versions of model, engine and graders they are of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import metamath_ray
from metamath_ray.answers import RuleSet
from metamath_ray.evaluation._predictions import Prediction, load_predictions, predictions_path
from metamath_ray.evaluation._scores import BenchmarkScores
from metamath_ray.run_folder import write_whole

SUMMARY = "summary.json"

_NEEDED = {"model", "engine", "grader", "benchmarks", "seconds", "completions_reused"}
_GRADER_PACKAGES = ("math-verify", "latex2sympy2_extended", "sympy")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the completions come from.

    `model`: name, fingerprint, precision; `engine`: name, version, device and the options that it ran with.
    Both as the engine says, for people and for `--regrade`, which carries them over; never a key.
    """

    model: Mapping[str, Any]
    engine: Mapping[str, Any]


def write_summary(
    output: Path,
    scores: Sequence[BenchmarkScores],
    *,
    grader: RuleSet,
    provenance: Provenance,
    seconds: float,
    num_reused: int = 0,
    timings: Mapping[str, float] | None = None,
) -> Path:
    """Write `summary.json` and give its path; the same arguments give the same bytes.

    `num_reused` completions are of an earlier run of the same evaluation. Each benchmark's headline figures are
    those of `grader`; both rule sets stand below it. `timings` are seconds of parts of the run; some overlap.
    """
    document = {
        "version": metamath_ray.__version__,
        "model": dict(provenance.model),
        "engine": dict(provenance.engine),
        "graders": grader_versions(),
        "grader": grader,
        "benchmarks": {score.name: _benchmark(score, grader) for score in scores},
        "completions_reused": num_reused,
        "seconds": seconds,
        "timings": dict(timings or {}),
    }
    return write_json(output / SUMMARY, document)


def load_summary(output: Path) -> dict[str, Any]:
    """The document of a finished evaluation. Raises `ValueError` where it is missing or can't be read."""
    path = output / SUMMARY
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; a finished evaluation writes it") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} can't be read: {error}") from None
    if not isinstance(document, dict) or not document.keys() >= _NEEDED:
        raise ValueError(f"{path} is no summary of an evaluation")
    return document


def load_provenance(output: Path) -> Provenance:
    """What the completions of a finished evaluation come from. Raises `ValueError` as `load_summary` does."""
    document = load_summary(output)
    return Provenance(document["model"], document["engine"])


def load_all_predictions(output: Path) -> dict[str, tuple[Prediction, ...]]:
    """The predictions of each benchmark of a finished evaluation, by its name, in order of names.

    Those that its summary names: the folder may hold older tables, of another model in the same place. Raises
    `ValueError` where summary or tables are missing or can't be read.
    """
    names = sorted(load_summary(output)["benchmarks"])
    return {name: load_predictions(predictions_path(output, name)) for name in names}


def grader_versions() -> dict[str, str]:
    """The versions of everything that decides a verdict."""
    return {"metamath_ray": metamath_ray.__version__} | {name: version(name) for name in _GRADER_PACKAGES}


def write_json(path: Path, document: Mapping[str, Any]) -> Path:
    """Write a JSON file whole or not at all, in the order of the document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _benchmark(scores: BenchmarkScores, grader: RuleSet) -> dict[str, Any]:
    below = {name: value for name, value in asdict(scores).items() if name not in ("name", "n")}
    return asdict(scores.under(grader).total) | below
