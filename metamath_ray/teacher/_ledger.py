"""The ledger of a run: every reply that was ever paid for, found again by its request's key."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metamath_ray.teacher._options import TeacherOptions
from metamath_ray.teacher._requests import Reply
from metamath_ray.teacher._segments import (
    SEGMENT_SUFFIX,
    LedgerDamagedError,
    decode_reply,
    is_intact,
    read_segment,
)

_LOCATION = np.dtype([("segment", "<u4"), ("length", "<u4"), ("offset", "<u8")])


BATCH_MARK = {"interface": "batch"}
"""What stands in the record of a reply that a batch brought."""
_IN_BATCH = b',"interface":"batch"'  # a quote within a JSON string is escaped, so this is the field

_MOST_FILES = (
    128  # that a reader keeps open: a run that was resumed often has more segments than a process may
)


class Place(NamedTuple):
    """Where a record lies."""

    segment: str
    offset: int
    length: int


@dataclass(frozen=True)
class LedgerIndex:
    """Where each stored reply lies: arrays only, so that Ray hands one copy to all workers of a node.

    `prefixes`, the first 64 bits of each key, are sorted, `locations` are in their order; 24 bytes a reply.
    `ends` says how far each segment was read.
    """

    segments: tuple[str, ...]
    ends: tuple[int, ...]
    prefixes: npt.NDArray[np.uint64]
    locations: npt.NDArray[np.void]

    def __len__(self) -> int:
        return len(self.prefixes)

    def find(self, key: str) -> list[Place]:
        """The places of the records that may answer `key`."""
        prefix = np.uint64(int(key[:16], 16))
        first = int(np.searchsorted(self.prefixes, prefix, side="left"))
        found = []
        while first < len(self.prefixes) and self.prefixes[first] == prefix:
            at = self.locations[first]
            found.append(Place(self.segments[int(at["segment"])], int(at["offset"]), int(at["length"])))
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
    ends: list[int] = []
    prefixes: list[npt.NDArray[np.uint64]] = []
    blocks: list[npt.NDArray[np.void]] = []
    for path in paths:
        rows = [(r.key, r.length, r.offset) for r in read_segment(path)]
        prefixes.append(np.array([int(key[:16], 16) for key, _, _ in rows], dtype=np.uint64))
        blocks.append(np.array([(len(segments), *place) for _, *place in rows], dtype=_LOCATION))
        segments.append(str(path))
        ends.append(rows[-1][1] + rows[-1][2] if rows else 0)
    all_prefixes = np.concatenate([np.empty(0, dtype=np.uint64), *prefixes])
    order = np.argsort(all_prefixes, kind="stable")
    locations = np.concatenate([np.empty(0, dtype=_LOCATION), *blocks])
    return LedgerIndex(tuple(segments), tuple(ends), all_prefixes[order], locations[order])


class LedgerReader:
    """Looks replies up in an index, with what was added since; one per process, not shared by threads.

    Where two runs bought the same sample, the same one of the two is given everywhere: the record that
    comes first as bytes.
    """

    def __init__(self, index: LedgerIndex) -> None:
        self._index = index
        self._added: dict[bytes, list[Place]] = {}
        self._read_to = dict(zip(index.segments, index.ends, strict=True))
        self._files: dict[str, int] = {}

    def add(self, key: str, place: Place) -> None:
        """Make a record findable that was stored after the index was built."""
        places = self._added.setdefault(bytes.fromhex(key), [])
        if place not in places:
            places.append(place)
        if self._read_to.get(place.segment, 0) == place.offset:
            self._read_to[place.segment] = place.offset + place.length

    def add_new_records(self, folder: Path) -> int:
        """Take in what other writers have stored in `folder` since the last look; gives the number of replies."""
        count = 0
        for path in segment_paths(folder):
            name = str(path)
            start = self._read_to.get(name, 0)
            if path.stat().st_size > start:
                for record in read_segment(path, start=start, live=True):
                    self.add(record.key, Place(name, record.offset, record.length))
                    count += 1
        return count

    def get(self, key: str) -> Reply | None:
        """The stored reply to `key`, or None."""
        places = self._index.find(key) + self._added.get(bytes.fromhex(key), [])
        lines = sorted(self.read(place) for place in places)
        replies = (decode_reply(line) for line in lines)
        return next((reply for reply in replies if reply.key == key), None)

    def read(self, place: Place) -> bytes:
        """The record that lies there, checked. Raises `LedgerDamagedError`."""
        segment, offset, length = place
        fd = self._files.pop(segment, None)
        if fd is None:
            if len(self._files) >= _MOST_FILES:
                os.close(self._files.pop(next(iter(self._files))))
            fd = os.open(segment, os.O_RDONLY)
        self._files[segment] = fd  # the newest used last
        line = os.pread(fd, length, offset)
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


@dataclass(frozen=True, slots=True)
class Usage:
    """What a number of replies was billed; `batch_…` is the part of it that batches brought, at their price."""

    replies: int
    prompt_tokens: int
    completion_tokens: int
    batch_prompt_tokens: int = 0
    batch_completion_tokens: int = 0

    def usd(self, teacher: TeacherOptions) -> float:
        """US dollars at the teacher's prices."""
        return self.chat_usd(teacher) + teacher.usd(
            prompt_tokens=self.batch_prompt_tokens,
            completion_tokens=self.batch_completion_tokens,
            in_batch=True,
        )

    def chat_usd(self, teacher: TeacherOptions) -> float:
        """The part of them that no batch brought."""
        return teacher.usd(
            prompt_tokens=self.prompt_tokens - self.batch_prompt_tokens,
            completion_tokens=self.completion_tokens - self.batch_completion_tokens,
        )


def sum_usage(paths: Iterable[Path]) -> Usage:
    """The bill of all replies in the segments."""
    replies = 0
    prompt, completion = [0, 0], [0, 0]  # without and with a batch
    for path in paths:
        for record in read_segment(path):
            reply = decode_reply(record.line)
            in_batch = _IN_BATCH in record.line
            replies += 1
            prompt[in_batch] += reply.prompt_tokens
            completion[in_batch] += reply.completion_tokens
    return Usage(replies, sum(prompt), sum(completion), prompt[True], completion[True])
