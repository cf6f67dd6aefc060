"""A ledger as one compressed file, to keep or to give away, and back into a ledger."""

import gzip
import hashlib
import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, Field, field_validator

from metamath_ray.teacher._ledger import LedgerReader, Place, build_index, segment_paths
from metamath_ray.teacher._segments import SEGMENT_SUFFIX, LedgerDamagedError, is_intact, read_segment

_MAGIC = {b"\x1f\x8b": ".gz", b"\xfd7zXZ\x00": ".xz"}
_CRC_END = len(b'{"crc":"xxxxxxxx"')


class ExportOptions(BaseModel):
    """Which ledger is written as one file, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_dir: Path = Field(description="a build's run directory, or a ledger folder")
    output: Path = Field(description="the file to write, named *.jsonl.gz (quick) or *.jsonl.xz (small)")

    @field_validator("output")
    @classmethod
    def _says_how_it_is_packed(cls, value: Path) -> Path:
        if value.suffix not in _MAGIC.values():
            raise ValueError(f"must end in .jsonl.gz or .jsonl.xz, got {value.name}")
        return value

    @property
    def folder(self) -> Path:
        """The ledger's folder; ValueError where there is no segment in it."""
        for folder in (self.run_dir, self.run_dir / "ledger"):
            if segment_paths(folder):
                return folder
        raise ValueError(f"--run-dir {self.run_dir} holds no ledger")


def export_ledger(folder: Path, target: Path) -> int:
    """Write all records of a ledger, one for each key, as one `.gz` or `.xz` file; gives the number of replies.

    Each record keeps its checksum. The same replies give the same bytes, whatever the segments. Takes less than a
    kilobyte of memory a reply. Raises `LedgerDamagedError` as reading does.
    """
    found: dict[str, tuple[bytes, bytes, Place]] = {}
    for path in segment_paths(folder):
        for record in read_segment(path):
            place = Place(str(path), record.offset, record.length)
            entry = (_digest_prompt(record.line), record.line[:_CRC_END], place)
            found[record.key] = min(entry, found.get(record.key, entry))
    reader = LedgerReader(build_index([]))
    with _write_packed(target) as file:
        for _, (_, _, place) in sorted(found.items(), key=lambda item: (item[1][0], item[0])):
            file.write(reader.read(place))
    reader.close()
    return len(found)


def is_exported_ledger(path: Path) -> bool:
    """True where a file begins as an exported ledger does."""
    with path.open("rb") as file:
        return _packing_of(file) is not None


def import_ledger(source: Path, folder: Path, *, name: str) -> Path:
    """Unpack an exported ledger into `folder` as the segment `name`, once, each record checked; gives its path.

    Raises `LedgerDamagedError` with file and line where it is damaged, and leaves nothing behind then.
    """
    target = folder / f"{name}{SEGMENT_SUFFIX}"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            _unpack(source, partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return target


def _unpack(source: Path, target: Path) -> None:
    number = 0
    with source.open("rb") as packed, target.open("wb") as file:
        try:
            for number, line in enumerate(_open_packed(source, packed), start=1):
                if not is_intact(line):
                    raise LedgerDamagedError(
                        f"{source} is damaged in line {number}: the record fails its checksum"
                    )
                file.write(line)
        except (lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError) as error:
            raise LedgerDamagedError(f"{source} is damaged behind line {number}: {error}") from None
        file.flush()
        os.fsync(file.fileno())


def _open_packed(source: Path, packed: IO[bytes]) -> IO[bytes]:
    packing = _packing_of(packed)
    if packing is None:
        raise LedgerDamagedError(f"{source} is no exported ledger: it is neither gzip nor xz")
    return gzip.GzipFile(fileobj=packed) if packing == ".gz" else lzma.LZMAFile(packed)  # type: ignore[return-value]


def _packing_of(file: IO[bytes]) -> str | None:
    start = file.read(max(map(len, _MAGIC)))
    file.seek(0)
    return next((packing for magic, packing in _MAGIC.items() if start.startswith(magic)), None)


@contextmanager
def _write_packed(target: Path) -> Iterator[IO[bytes]]:
    """A file that is there in whole, on disk, or not at all; no name or time in it."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as raw:
            with (
                gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0)
                if target.suffix == ".gz"
                else lzma.LZMAFile(raw, "wb", preset=9 | lzma.PRESET_EXTREME)
            ) as packed:
                yield packed  # type: ignore[misc]
            raw.flush()
            os.fsync(raw.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _digest_prompt(line: bytes) -> bytes:
    """Replies to one prompt lie together and compress well."""
    # a quote within a JSON string is escaped, so this is the field's name
    return hashlib.blake2b(line[line.rfind(b',"user":"') :], digest_size=8).digest()
