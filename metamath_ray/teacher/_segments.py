"""Ledger segments: append-only files of JSON lines, each line with its checksum, one writer each.

A line is `{"crc":"xxxxxxxx","key":"<64 hex>", …}` and a newline; the CRC-32 covers everything after the
checksum's comma. Key and checksum stand at fixed offsets, so that an index is built without parsing JSON.
"""

import json
import logging
import os
import socket
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metamath_ray.teacher._requests import Reply, canonical_json

logger = logging.getLogger(__name__)

SEGMENT_SUFFIX = ".ledger.jsonl"
_HEAD = len(b'{"crc":"xxxxxxxx",')
_KEY_AT = len(b'{"crc":"xxxxxxxx","key":"')
_KEY_END = _KEY_AT + 64


class LedgerDamagedError(ValueError):
    """A ledger segment holds bytes that no crash of its writer explains; names file and offset."""


@dataclass(frozen=True, slots=True)
class Record:
    """One stored line: where it is and what key it answers."""

    offset: int
    length: int
    key: str
    line: bytes


def encode_record(reply: Reply, context: dict[str, Any]) -> bytes:
    """The line that stores `reply`; `context` (prompt, sampling, time) goes along for the reader's sake."""
    fields = {
        "text": reply.text,
        "finish_reason": reply.finish_reason,
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "model": reply.model,
        "sample_index": reply.sample_index,
        **context,
    }
    body = b'"key":"' + reply.key.encode() + b'",' + canonical_json(fields)[1:]
    return b'{"crc":"%08x",' % zlib.crc32(body) + body + b"\n"


def decode_reply(line: bytes) -> Reply:
    """The reply in a line that `is_intact` has passed."""
    fields = json.loads(line.decode("utf-8", errors="surrogatepass"))
    return Reply(
        key=fields["key"],
        text=fields["text"],
        finish_reason=fields["finish_reason"],
        prompt_tokens=fields["prompt_tokens"],
        completion_tokens=fields["completion_tokens"],
        model=fields["model"],
        sample_index=fields["sample_index"],
    )


def is_intact(line: bytes) -> bool:
    """True where the line is whole: newline at the end, frame in place, checksum right."""
    return (
        line.endswith(b"}\n")
        and line.startswith(b'{"crc":"')
        and line[_HEAD - 2 : _KEY_AT] == b'","key":"'
        and line[_HEAD - 10 : _HEAD - 2] == b"%08x" % zlib.crc32(line[_HEAD:-1])
    )


def read_segment(path: Path, *, start: int = 0, live: bool = False) -> Iterator[Record]:
    """Yield the whole records of a segment from byte `start` on.

    A torn last record (no newline: its writer died in the middle) is dropped with a warning. Any other
    damage raises `LedgerDamagedError` with file and offset. `live` segments may still be written to:
    reading ends quietly where the whole records do.
    """
    offset = start
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if is_intact(line):
                yield Record(offset, len(line), line[_KEY_AT:_KEY_END].decode(), line)
            elif live:
                return
            elif line.endswith(b"\n"):
                raise LedgerDamagedError(f"{path} is damaged at byte {offset}: the record fails its checksum")
            else:
                logger.warning("%s: dropped a torn last record, %d bytes at byte %d", path, len(line), offset)
            offset += len(line)


class SegmentWriter:
    """Appends records to a new segment of its own; `append` returns once they are on disk.

    Not safe for threads: one writer each, as the segment has one writer.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / _new_segment_name()
        self._fd: int | None = None
        self._size = 0

    def append(self, lines: list[bytes]) -> list[int]:
        """Write and fsync the lines, and return the byte offset of each in `path`.

        Raises OSError where the disk refuses them; what comes next goes to a new segment then, so that the
        record which the disk cut stays the last of its own.
        """
        try:
            if self._fd is None:  # no empty segment for a writer that never had a reply
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
                _fsync_folder(self.path.parent)
            _write_all(self._fd, b"".join(lines))
            os.fsync(self._fd)
        except OSError:
            self.close()
            self.path, self._size = self.path.with_name(_new_segment_name()), 0
            raise
        offsets = []
        for line in lines:
            offsets.append(self._size)
            self._size += len(line)
        return offsets

    def close(self) -> None:
        """Close the segment; nothing is pending, `append` had it on disk."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _new_segment_name() -> str:
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    host = "".join(c for c in socket.gethostname() if c.isalnum() or c == "-")[:24]
    return f"{stamp}-{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}{SEGMENT_SUFFIX}"


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _fsync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
