"""What a build writes: candidates and dataset as Parquet, and the released file's JSON."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metamath_ray.bootstrap._candidates import CANDIDATE_SCHEMA
from metamath_ray.bootstrap._contamination import ContaminationIndex
from metamath_ray.bootstrap._finish import finish_response
from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.bootstrap._selection_records import (
    SelectionCandidate,
    SelectionRules,
    dataset_sha256,
    row_id,
)
from metamath_ray.problems import Problem
from metamath_ray.released import released_type

_ROWS_A_FILE = 100_000
DATASET_COLUMNS = (
    "type",
    "query",
    "original_question",
    "response",
    "row_id",
    "seed_id",
    "source",
    "augmentation",
    "expected",
    "request_key",
    "teacher",
)
_NUM_RELEASED_COLUMNS = 4


def read_candidates(folder: Path) -> pa.Table:
    """All candidates below `folder`, in their fixed order, whatever order they were written in."""
    paths = sorted(folder.rglob("*.parquet"))
    tables = [pq.read_table(path, schema=CANDIDATE_SCHEMA) for path in paths]
    table = pa.concat_tables(tables) if tables else CANDIDATE_SCHEMA.empty_table()
    order = ("source", "augmentation", "seed_id", "question_id", "sample_index")
    return table.sort_by([(name, "ascending") for name in order])


def write_candidates(table: pa.Table, folder: Path) -> None:
    """Write the candidates as `part-00000.parquet …`, replacing what was there."""
    _write_parts(table, folder)


def accepted_candidates(
    table: pa.Table, seeds: Sequence[Problem], options: BuildOptions
) -> Iterator[SelectionCandidate]:
    """The correct paths of a candidates table, each with its response as it will be trained on."""
    by_id = {seed.id: seed for seed in seeds}
    for batch in table.filter(pc.equal(table.column("verdict"), "correct")).to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            seed = by_id[row["seed_id"]]
            # in GSM8K's style the expected number itself: a teacher writes $18.00, 18 apples, x = 18
            answer = row["expected"] if seed.style == "gsm" else row["extracted"]
            response = finish_response(
                row["response"], answer=answer, style=seed.style, compat=options.compat
            )
            if not response:
                continue  # an answer without a reasoning path
            yield SelectionCandidate(
                question_id=row["question_id"],
                seed_id=seed.id,
                source=row["source"],
                augmentation=row["augmentation"],
                type=released_type(row["source"], row["augmentation"]),
                question=row["question"],
                response=response,
                sample_index=row["sample_index"],
                request_key=row["request_key"],
                expected=row["expected"],
                teacher=row["teacher"],
                original_question=seed.question,
            )


def selection_rules(options: BuildOptions, contamination: ContaminationIndex | None) -> SelectionRules:
    """The rules that the options ask for."""
    return SelectionRules(
        seed=options.seed,
        targets=dict(options.target_rows().items()),
        near_duplicate_threshold=None if options.compat == "paper" else options.near_duplicate_threshold,
        contamination=contamination,
    )


def write_dataset(rows: Sequence[SelectionCandidate], folder: Path) -> str:
    """Write `dataset/*.parquet` and `MetaMathQA.json`; gives the rows' `dataset_sha256`."""
    records = [_record(row) for row in rows]
    schema = pa.schema([(name, pa.string()) for name in DATASET_COLUMNS])
    _write_parts(pa.Table.from_pylist(records, schema=schema), folder / "dataset")
    _write_released(records, folder / "MetaMathQA.json")
    return dataset_sha256(records)


def _record(row: SelectionCandidate) -> dict[str, Any]:
    values = (
        row.type,
        row.question,
        row.original_question,
        row.response,
        row_id(row),
        row.seed_id,
        row.source,
        row.augmentation,
        row.expected,
        row.request_key,
        row.teacher,
    )
    return dict(zip(DATASET_COLUMNS, values, strict=True))


def _write_released(records: Sequence[dict[str, Any]], path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write("[")
        for i, record in enumerate(records):
            released = {name: record[name] for name in DATASET_COLUMNS[:_NUM_RELEASED_COLUMNS]}
            file.write((",\n" if i else "\n") + json.dumps(released, ensure_ascii=False))
        file.write("\n]\n")
    partial.replace(path)


def _write_parts(table: pa.Table, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    starts = range(0, max(table.num_rows, 1), _ROWS_A_FILE)
    names = {f"part-{i:05d}.parquet" for i in range(len(starts))}
    for name, start in zip(sorted(names), starts, strict=True):
        partial = folder / f".{name}.partial"
        pq.write_table(table.slice(start, _ROWS_A_FILE), partial, compression="zstd")
        partial.replace(folder / name)
    for old in folder.glob("*.parquet"):
        if old.name not in names:
            old.unlink()
