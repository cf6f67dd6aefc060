"""Rows of a result, written as Parquet and as CSV, so that each figure can be traced to its rows."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq


def write_table(table: pa.Table, folder: Path, name: str) -> None:
    """Write `NAME.parquet` and `NAME.csv`, each whole or not at all."""
    partial = folder / f".{name}.partial"
    pq.write_table(table, partial, compression="zstd")
    partial.replace(folder / f"{name}.parquet")
    pa.csv.write_csv(table, partial)
    partial.replace(folder / f"{name}.csv")
