"""Packed training data on disk: an Arrow file that is mapped into memory, and the manifest that vouches for it."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from metamath_ray.run_folder import write_whole

PACKS_FILE = "packs.arrow"
MANIFEST_FILE = "manifest.json"
DATA_VERSION = 1
"""Of the files' format and of the way rows become tokens; another version means packing anew."""

_PACKS_A_BATCH = 1024
_SCHEMA = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("lengths", pa.list_(pa.int32())),
        ("prompt_lengths", pa.list_(pa.int32())),
        ("row_ids", pa.list_(pa.string())),
    ]
)
Int32s: TypeAlias = npt.NDArray[np.int32]
Int64s: TypeAlias = npt.NDArray[np.int64]


class DamagedDataError(ValueError):
    """The folder's packed data is not what its manifest says; the text says what differs and what to do."""


@dataclass(frozen=True, slots=True)
class Pack:
    """One training sequence: whole documents, one after another.

    `input_ids` holds each document's prompt, response and end-of-sequence token. `lengths` are the documents'
    tokens, and `prompt_lengths` how many of them, at least one, carry no loss. The arrays can't be written to.
    """

    input_ids: Int32s
    lengths: Int32s
    prompt_lengths: Int32s
    row_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was packed, from what, and what was lost on the way.

    `num_rows` are the rows in the packs, each of them once. `num_cut` are rows of paper mode that lost their end
    to `max_length`. `real_token_share` is `num_tokens / (num_packs * max_length)`. `dropped` counts rows by reason.
    """

    version: int
    key: str
    tokenizer: str
    template: str
    max_length: int
    packing: bool
    num_rows: int
    num_packs: int
    num_tokens: int
    num_response_tokens: int
    num_cut: int
    real_token_share: float
    dropped: dict[str, int]
    seconds: float
    packs_sha256: str
    packs_bytes: int


class PackedData:
    """The packs of a folder by index, straight from the mapped file: nothing is read before it is asked for."""

    def __init__(self, folder: Path, manifest: Manifest, batches: "list[_Batch]") -> None:
        self.folder = folder
        self.manifest = manifest
        self._batches = batches
        counts = [batch.response_tokens() for batch in batches]
        self.response_tokens: Int64s = np.concatenate([np.empty(0, np.int64), *counts])
        """Targets of each pack: all tokens but the prompts'; shape `(num_packs,)`."""

    @classmethod
    def open(cls, folder: Path, *, verify: bool = False) -> "PackedData":
        """The data that `write_packs` left in `folder`; `verify` also reads the whole file and checks its digest.

        Raises `FileNotFoundError` where there is no manifest, `DamagedDataError` where the files don't fit it.
        """
        manifest = read_manifest(folder)
        _check_file(folder, manifest, read_it=verify)
        data = cls(folder, manifest, _map_batches(folder, manifest))
        if len(data.response_tokens) != manifest.num_packs:
            raise _damaged(
                folder, f"{PACKS_FILE} has {len(data.response_tokens)} packs, not {manifest.num_packs}"
            )
        return data

    @property
    def max_length(self) -> int:
        """No pack has more tokens."""
        return self.manifest.max_length

    @property
    def key(self) -> str:
        """The same for the same rows, tokenizer, template, length and packing; a checkpoint is tied to it."""
        return self.manifest.key

    def __len__(self) -> int:
        return self.manifest.num_packs

    def __getitem__(self, index: int) -> Pack:
        if not 0 <= index < len(self):
            raise IndexError(f"pack index must be 0 to {len(self) - 1}, got {index}")
        return self._batches[index // _PACKS_A_BATCH].pack(index % _PACKS_A_BATCH)

    def __reduce__(self) -> tuple[Callable[[Path], "PackedData"], tuple[Path]]:
        return PackedData.open, (self.folder,)  # a worker maps the file itself


class _Batch:
    """Views of one record batch's columns."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._ids, self._starts = _views(batch.column("input_ids"))
        self._lengths, self._documents = _views(batch.column("lengths"))
        self._prompts, _ = _views(batch.column("prompt_lengths"))
        self._row_ids = batch.column("row_ids").flatten()

    def pack(self, index: int) -> Pack:
        start, stop = self._starts[index : index + 2].tolist()
        first, last = self._documents[index : index + 2].tolist()
        return Pack(
            input_ids=self._ids[start:stop],
            lengths=self._lengths[first:last],
            prompt_lengths=self._prompts[first:last],
            row_ids=tuple(self._row_ids.slice(first, last - first).to_pylist()),
        )

    def response_tokens(self) -> Int64s:
        targets = np.cumsum(np.r_[0, self._lengths.astype(np.int64) - self._prompts])
        return np.diff(targets[self._documents])


def _views(column: pa.ListArray) -> tuple[Int32s, Int32s]:
    return column.values.to_numpy(), column.offsets.to_numpy()


def _map_batches(folder: Path, manifest: Manifest) -> list[_Batch]:
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(folder / PACKS_FILE)))
        if not reader.schema.equals(_SCHEMA):
            raise _damaged(folder, f"{PACKS_FILE} has other columns: {reader.schema.names}")
        return [_Batch(reader.get_batch(i)) for i in range(reader.num_record_batches)]
    except pa.ArrowInvalid as error:
        raise _damaged(folder, f"{PACKS_FILE} is no Arrow file: {' '.join(str(error).split())}") from None


def read_manifest(folder: Path) -> Manifest:
    """The folder's manifest.

    Raises `FileNotFoundError` where there is none of this `DATA_VERSION`, `DamagedDataError` for a bad one.
    """
    try:
        content = (folder / MANIFEST_FILE).read_bytes()
        version = TypeAdapter(_Versioned).validate_json(content).version
        if version != DATA_VERSION:
            raise FileNotFoundError(
                f"packed data in {str(folder)!r} is of version {version}, not {DATA_VERSION}"
            )
        return TypeAdapter(Manifest).validate_json(content)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no packed data in {str(folder)!r}: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join([MANIFEST_FILE, *map(str, first["loc"])])
        raise _damaged(folder, f"{where}: {first['msg']}") from None


@dataclass(frozen=True, slots=True)
class _Versioned:
    """What manifests of every version have."""

    version: int


def write_packs(packs: Iterable[Pack], folder: Path, *, describe: Callable[[str, int], Manifest]) -> Manifest:
    """Write packs, then the manifest that `describe(packs_sha256, packs_bytes)` gives: all or nothing.

    An older manifest goes first, so that a run that dies in between leaves no data rather than wrong data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    partial = folder / f".{PACKS_FILE}.partial"
    with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        remaining = iter(packs)
        while chunk := list(islice(remaining, _PACKS_A_BATCH)):
            writer.write_batch(_record_batch(chunk))
    manifest = describe(_sha256(partial), partial.stat().st_size)
    partial.replace(folder / PACKS_FILE)
    write_whole(folder / MANIFEST_FILE, json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n")
    return manifest


def _record_batch(packs: list[Pack]) -> pa.RecordBatch:
    row_ids = [row_id for pack in packs for row_id in pack.row_ids]
    documents = [len(pack.lengths) for pack in packs]
    columns = [
        _lists([pack.input_ids for pack in packs]),
        _lists([pack.lengths for pack in packs]),
        _lists([pack.prompt_lengths for pack in packs]),
        pa.ListArray.from_arrays(_offsets(documents), pa.array(row_ids, pa.string())),
    ]
    return pa.record_batch(columns, schema=_SCHEMA)


def _lists(arrays: list[Int32s]) -> pa.ListArray:
    offsets = _offsets([len(array) for array in arrays])
    return pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(arrays).astype(np.int32, copy=False)))


def _offsets(lengths: list[int]) -> pa.Array:
    return pa.array(np.cumsum([0, *lengths]), pa.int32())


def _check_file(folder: Path, manifest: Manifest, *, read_it: bool) -> None:
    path = folder / PACKS_FILE
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise _damaged(folder, f"{PACKS_FILE} is missing") from None
    if size != manifest.packs_bytes:
        raise _damaged(folder, f"{PACKS_FILE} has {size} bytes, not {manifest.packs_bytes}")
    if read_it and _sha256(path) != manifest.packs_sha256:
        raise _damaged(folder, f"{PACKS_FILE} does not have the digest that {MANIFEST_FILE} names")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(folder: Path, what: str) -> DamagedDataError:
    return DamagedDataError(
        f"packed data in {str(folder)!r} is damaged: {what}; delete the folder to pack anew"
    )
