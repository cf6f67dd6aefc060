"""Vectors kept on disk under their text's hash: append-only segments, one writer each, as the ledger has them.

A segment is a run of records of one size: the text's SHA-256, whether the text was cut, the vector, and a checksum
of all that. A record that is torn or damaged counts as absent, so its text is embedded again.
"""

import hashlib
import json
import threading
import uuid
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metamath_ray.run_folder import write_whole

Floats32 = npt.NDArray[np.float32]

_KEY_BYTES = 32
_DESCRIPTION = "embedder.json"


class BadCacheError(ValueError):
    """The cache's folder can't be used; names it and what is wrong."""


def text_key(text: str) -> bytes:
    """The name of a text in the cache."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def cache_folder(root: Path, identity: dict[str, Any]) -> Path:
    """The folder of one embedder's vectors; `identity` is everything that decides what a text's vector is."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    return root.expanduser().resolve() / digest


def read_dimension(folder: Path) -> int | None:
    """Numbers of a vector in the folder, None where there is no folder yet. Raises `BadCacheError`."""
    path = folder / _DESCRIPTION
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["dimension"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadCacheError(f"embedding cache {folder} can't be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadCacheError(f"{path} can't be read: {error}; delete it or name another cache") from None


def describe_cache(folder: Path, identity: dict[str, Any], *, dimension: int) -> None:
    """Write beside the vectors whose they are. Raises `BadCacheError` where they have another dimension."""
    before = read_dimension(folder)
    if before is not None and before != dimension:
        raise BadCacheError(
            f"{folder} holds vectors of {before} numbers, but the embedder gives {dimension} now; "
            "name another --embedding.cache"
        )
    text = json.dumps(identity | {"dimension": dimension}, indent=2) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / _DESCRIPTION, text)
    except OSError as error:
        raise BadCacheError(
            f"embedding cache {folder} can't be written: {error.strerror}; name another --embedding.cache"
        ) from None


class EmbeddingWriter:
    """A segment of one's own; threads may share it."""

    def __init__(self, folder: Path, *, dimension: int) -> None:
        self._record = _record_type(dimension)
        self._path = folder / f"segment-{uuid.uuid4().hex}.bin"
        self._lock = threading.Lock()

    def append(self, keys: Sequence[bytes], vectors: Floats32, cut: Sequence[bool]) -> None:
        """Keep vectors, one for each key; they are with the operating system when this returns."""
        records = np.zeros(len(keys), self._record)
        records["key"] = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, _KEY_BYTES)
        records["cut"] = cut
        records["vector"] = vectors
        records["checksum"] = _checksums(records)
        with self._lock, self._path.open("ab") as file:
            file.write(records.tobytes())


class EmbeddingCache:
    """All vectors of a folder, found by text hash and read from disk when asked for."""

    def __init__(self, folder: Path, *, dimension: int) -> None:
        record = _record_type(dimension)
        self._segments: list[npt.NDArray[Any]] = []
        self._places: dict[bytes, tuple[int, int]] = {}
        self.dimension = dimension
        for path in sorted(folder.glob("segment-*.bin")):
            if num_records := path.stat().st_size // record.itemsize:
                self._add(np.memmap(path, record, mode="r", shape=(num_records,)))

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """The keys without a vector, each once, in their order."""
        return [key for key in dict.fromkeys(keys) if key not in self._places]

    def vectors(self, keys: Sequence[bytes]) -> Floats32:
        """The keys' vectors as rows. All must be there."""
        places = np.array([self._places[key] for key in keys], np.int64).reshape(-1, 2)
        found = np.empty((len(keys), self.dimension), np.float32)
        for number, segment in enumerate(self._segments):
            of_segment = np.flatnonzero(places[:, 0] == number)
            found[of_segment] = segment["vector"][places[of_segment, 1]]
        return found

    def num_cut(self, keys: Iterable[bytes]) -> int:
        """How many of the keys' texts were longer than the embedder reads."""
        places = (self._places[key] for key in keys)
        return sum(bool(self._segments[segment]["cut"][row]) for segment, row in places)

    def _add(self, records: npt.NDArray[Any]) -> None:
        number = len(self._segments)
        self._segments.append(records)
        whole = np.flatnonzero(_checksums(records) == records["checksum"])
        for row in whole.tolist():
            self._places.setdefault(records["key"][row].tobytes(), (number, row))


def _record_type(dimension: int) -> np.dtype[Any]:
    fields = [
        ("key", np.uint8, (_KEY_BYTES,)),
        ("cut", np.uint8),
        ("vector", "<f4", (dimension,)),
        ("checksum", "<u4"),
    ]
    return np.dtype(fields)


def _checksums(records: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    size = records.dtype.itemsize
    content = size - records.dtype["checksum"].itemsize
    data = memoryview(records.tobytes())
    sums = (zlib.crc32(data[at : at + content]) for at in range(0, len(data), size))
    return np.fromiter(sums, np.uint32, len(records))
