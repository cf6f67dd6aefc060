"""The ledger of a run: every reply that was ever paid for, found again by its request's key."""

import lzma
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from metamath_ray.teacher._requests import Reply
from metamath_ray.teacher._segments import (
    SEGMENT_SUFFIX,
    LedgerDamagedError,
    decode_reply,
    is_intact,
    read_segment,
)

_LOCATION = np.dtype([("prefix", ">u8"), ("segment", "<u4"), ("length", "<u4"), ("offset", "<u8")])


@dataclass(frozen=True)
class LedgerIndex:
    """Where each stored reply lies: arrays only, so that Ray hands one copy to all workers of a node.

    `locations` is sorted by the first 64 bits of the key; 24 bytes a reply.
    """

    segments: tuple[str, ...]
    locations: npt.NDArray[np.void]

    def __len__(self) -> int:
        return len(self.locations)

    def find(self, key: str) -> list[tuple[str, int, int]]:
        """Segment path, byte offset and length of the records that may answer `key`."""
        prefix = np.uint64(int(key[:16], 16)).astype(">u8")
        prefixes = self.locations["prefix"]
        first = int(np.searchsorted(prefixes, prefix, side="left"))
        found = []
        while first < len(prefixes) and prefixes[first] == prefix:
            at = self.locations[first]
            found.append((self.segments[int(at["segment"])], int(at["offset"]), int(at["length"])))
            first += 1
        return found


def segment_paths(folder: Path) -> list[Path]:
    """All segments of a ledger folder in a fixed order; none where the folder is not there."""
    return sorted(folder.glob(f"*{SEGMENT_SUFFIX}")) if folder.is_dir() else []


def build_index(paths: Iterable[Path]) -> LedgerIndex:
    """Read every segment once, check each record, and index it.

    Raises `LedgerDamagedError` where a record other than a torn last one fails its checksum.
    """
    segments: list[str] = []
    blocks: list[npt.NDArray[np.void]] = []
    for path in paths:
        rows = [(int(r.key[:16], 16), len(segments), r.length, r.offset) for r in read_segment(path)]
        segments.append(str(path))
        blocks.append(np.array(rows, dtype=_LOCATION))
    locations = np.concatenate(blocks) if blocks else np.empty(0, dtype=_LOCATION)
    return LedgerIndex(tuple(segments), np.sort(locations, order=["prefix", "segment", "offset"]))


class LedgerReader:
    """Looks replies up in an index, with what was added since; one per process, not shared by threads.

    Where two runs bought the same sample, the same one of the two is given everywhere: the record that
    comes first as bytes.
    """

    def __init__(self, index: LedgerIndex) -> None:
        self._index = index
        self._added: dict[str, Reply] = {}
        self._files: dict[str, int] = {}

    def add(self, reply: Reply) -> None:
        """Make a reply findable that was stored after the index was built."""
        self._added.setdefault(reply.key, reply)

    def add_new_segments(self, folder: Path) -> int:
        """Take in the segments of `folder` that the index does not know; gives the number of replies."""
        known = {Path(segment).name for segment in self._index.segments}
        count = 0
        for path in segment_paths(folder):
            if path.name not in known:
                for record in read_segment(path):
                    self.add(decode_reply(record.line))
                    count += 1
        return count

    def get(self, key: str) -> Reply | None:
        """The stored reply to `key`, or None."""
        if (reply := self._added.get(key)) is not None:
            return reply
        lines = [self._read(*place) for place in self._index.find(key)]
        replies = [decode_reply(line) for line in sorted(lines)]
        return next((reply for reply in replies if reply.key == key), None)

    def _read(self, segment: str, offset: int, length: int) -> bytes:
        if segment not in self._files:
            self._files[segment] = os.open(segment, os.O_RDONLY)
        line = os.pread(self._files[segment], length, offset)
        if not is_intact(line):
            raise LedgerDamagedError(
                f"{segment} is damaged at byte {offset}: it changed after it was indexed"
            )
        return line

    def close(self) -> None:
        """Close the segment files."""
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()


def iter_replies(paths: Iterable[Path]) -> Iterator[Reply]:
    """Every stored reply of the segments, in order, checked."""
    for path in paths:
        for record in read_segment(path):
            yield decode_reply(record.line)


def export_ledger(folder: Path, target: Path) -> int:
    """Write all records of a ledger, one for each key, as one `.xz` file; gives the number of replies.

    The same replies give the same bytes: records are sorted and the time of purchase is left in them.
    """
    lines: dict[str, bytes] = {}
    for path in segment_paths(folder):
        for record in read_segment(path):
            lines[record.key] = min(record.line, lines.get(record.key, record.line))
    partial = target.with_name(target.name + ".partial")
    with lzma.open(partial, "wb", preset=9 | lzma.PRESET_EXTREME) as file:
        for line in sorted(lines.values(), key=_sort_by_text):
            file.write(line)
    partial.rename(target)
    return len(lines)


def import_ledger(source: Path, folder: Path, *, name: str) -> Path:
    """Unpack an exported ledger into `folder` as the segment `name`, once; gives the segment's path."""
    target = folder / f"{name}{SEGMENT_SUFFIX}"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        with lzma.open(source, "rb") as packed, partial.open("wb") as file:
            while chunk := packed.read(1 << 20):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(target)
    return target


def _sort_by_text(line: bytes) -> bytes:
    return line[18 + 6 + 64 :]  # behind checksum and key: alike texts lie together and compress well
