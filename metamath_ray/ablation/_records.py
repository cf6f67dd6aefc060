"""What a trial leaves in `trials/MIX-SEED`: its rows, and the record that says it is done."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from metamath_ray.ablation._outcomes import Outcome
from metamath_ray.ablation._sampling import MixSample
from metamath_ray.run_folder import write_whole

OUTCOME_FILE = "outcome.json"
ROWS_FILE = "rows.parquet"

_COLUMNS = ("row_id", "type", "query", "response", "seed_id", "original_question")


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A finished trial: verdicts by benchmark, what it was trained on, and what that took.

    `training` has figures of the training's summary. `seconds` are of training and evaluation, by name.
    """

    mix: str
    seed: int
    rows_sha256: str
    outcomes: dict[str, Outcome]
    training: dict[str, Any]
    seconds: dict[str, float]


def trial_folder(output: Path, name: str) -> Path:
    """Where a trial writes."""
    return output / "trials" / name


def load_record(output: Path, sample: MixSample) -> TrialRecord | None:
    """What the trial of that sample left, None where it has not finished.

    Raises `ValueError` for a record that can't be read, and for a trial that was trained on other rows.
    """
    record = read_record(trial_folder(output, sample.name))
    if record is not None and record.rows_sha256 != sample.digest:
        raise ValueError(
            f"trial {sample.name} in {output} was trained on other rows than the data gives now; name another "
            "--output"
        )
    return record


def read_record(folder: Path) -> TrialRecord | None:
    """The record in a trial's folder, whatever its rows; None where there is none."""
    path = folder / OUTCOME_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        mix, seed = values["mix"], values["seed"]
        outcomes = {
            name: Outcome(mix, seed, name, tuple(one["problem_ids"]), tuple(map(bool, one["correct"])))
            for name, one in values["benchmarks"].items()
        }
        return TrialRecord(mix, seed, values["rows_sha256"], outcomes, values["training"], values["seconds"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} can't be read ({error!r}); remove it to run the trial again") from None


def write_record(folder: Path, record: TrialRecord) -> Path:
    """Write a record whole or not at all: with it the trial is done."""
    benchmarks = {
        name: {"problem_ids": outcome.problem_ids, "correct": list(map(int, outcome.correct))}
        for name, outcome in record.outcomes.items()
    }
    values = {
        "mix": record.mix,
        "seed": record.seed,
        "rows_sha256": record.rows_sha256,
        "accuracy": {name: outcome.accuracy for name, outcome in record.outcomes.items()},
        "training": record.training,
        "seconds": record.seconds,
        "benchmarks": benchmarks,
    }
    return write_whole(folder / OUTCOME_FILE, json.dumps(values, ensure_ascii=False) + "\n")


def write_rows(folder: Path, sample: MixSample) -> Path:
    """The sample's rows as a file that training and analyses read."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{name: getattr(row, name) for name in _COLUMNS} for row in sample.rows]
    schema = pa.schema([(name, pa.string()) for name in _COLUMNS])
    partial = folder / f".{ROWS_FILE}.partial"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), partial, compression="zstd")
    return partial.replace(folder / ROWS_FILE)
