"""The journal of a benchmark: every completion as it arrived, one JSON line each, append-only.

A line is `{"crc":"xxxxxxxx",…}` and a newline; the CRC-32 covers what follows the checksum's comma.
"""

import fcntl
import json
import logging
import os
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

logger = logging.getLogger(__name__)

JOURNAL_SUFFIX = ".journal.jsonl"
FAILED = "failed"
"""`finish_reason` of a request that the engine refused for good, such as a prompt that is too long."""

_HEAD = len(b'{"crc":"xxxxxxxx",')
_SYNC_EVERY_S = 1.0


class JournalDamagedError(ValueError):
    """A journal holds bytes that no death of its writer explains; names file and offset."""


class JournalInUseError(ValueError):
    """Another process writes to the same journal."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back for a request: `seconds` from sending to the last token."""

    key: str
    problem_id: str
    sample_index: int
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float


_FIELDS = frozenset(field.name for field in fields(Completion))


class Journal:
    """Appends completions to a file that one process at a time holds; what a torn tail held is asked again.

    An appended completion survives the death of the process at once, and that of the machine after a
    second or at `close()`. Raises `JournalInUseError`, `JournalDamagedError`, and `OSError` where the
    disk refuses.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _lock(self._fd, path)
            self.found = self._recover()
            _sync_folder(path.parent)
        except BaseException:
            os.close(self._fd)
            raise
        self._synced_at = time.monotonic()

    def append(self, completions: Sequence[Completion]) -> None:
        """Write the completions behind those that are there."""
        if not completions:
            return
        end = os.fstat(self._fd).st_size
        view = memoryview(b"".join(map(encode_completion, completions)))
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except BaseException:  # a full disk, an interrupt
            os.ftruncate(self._fd, end)  # no half a line before the next one
            raise
        if time.monotonic() - self._synced_at >= _SYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Return once all that was appended is on disk."""
        os.fsync(self._fd)
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Sync and let another process have the file."""
        self.sync()
        os.close(self._fd)

    def _recover(self) -> tuple[Completion, ...]:
        """The completions that were there; a torn tail is cut off, so that what comes next begins a line."""
        content = self.path.read_bytes()
        completions, end = decode_journal(content, label=str(self.path))
        if end < len(content):
            logger.warning("%s: dropped a torn last record, %d bytes", self.path, len(content) - end)
            os.ftruncate(self._fd, end)
        return completions


def encode_completion(completion: Completion) -> bytes:
    """The line that keeps a completion; all ASCII, so that any text survives."""
    body = json.dumps(asdict(completion), separators=(",", ":")).encode()[1:]
    return b'{"crc":"%08x",' % zlib.crc32(body) + body + b"\n"


def decode_journal(content: bytes, *, label: str) -> tuple[tuple[Completion, ...], int]:
    """The completions of a journal in order of arrival, and where its whole lines end.

    A last line without its newline is torn: its writer died. Any other damage raises
    `JournalDamagedError` with `label` and offset.
    """
    completions = []
    offset = 0
    while (newline := content.find(b"\n", offset)) >= 0:
        completions.append(_decode_line(content[offset : newline + 1], label, offset))
        offset = newline + 1
    return tuple(completions), offset


def _decode_line(line: bytes, label: str, offset: int) -> Completion:
    body = line[_HEAD:-1]
    if line[:_HEAD] != b'{"crc":"%08x",' % zlib.crc32(body):
        raise JournalDamagedError(f"{label} is damaged at byte {offset}: the record fails its checksum")
    values = json.loads(b"{" + body)
    if values.keys() != _FIELDS:
        raise JournalDamagedError(
            f"{label} at byte {offset}: a record of other fields; it was written by another version"
        )
    return Completion(**values)


def _lock(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise JournalInUseError(
            f"{path} is in use by another evaluation; give another --output, or wait until it ends"
        ) from None


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
