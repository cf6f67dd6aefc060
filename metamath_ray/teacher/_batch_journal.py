"""What a run has handed to the batch interface, written down before and after, so that nothing is bought twice.

A folder of the run directory: `run_id`, and for each file of requests `NNNN.jsonl` (the file itself, until all that
came of it is in the ledger) and `NNNN.json` (its record). A batch carries run, name and checksum as metadata: one
that was created just before a kill is found again by them.
"""

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from metamath_ray.teacher._batch_lines import RequestLine
from metamath_ray.teacher._batch_misses import Miss
from metamath_ray.teacher._batch_options import BatchOptions
from metamath_ray.teacher._segments import _fsync_folder

_RECORD = ConfigDict(frozen=True)


class Ended(BaseModel):
    """What came of a batch: its last status, its bill, and the samples that it brought no reply for, by key."""

    model_config = _RECORD

    status: str
    num_replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    misses: dict[str, Miss] = {}


class Submission(BaseModel):
    """A file of requests and what is known of its batch; `later_samples` are first samples that are not 0."""

    model_config = _RECORD

    name: str
    sha256: str
    num_requests: int
    num_samples: int
    later_samples: dict[str, int] = {}
    batch_id: str | None = None
    ended: Ended | None = None


class BatchJournal:
    """The folder of one run's submissions; one process at a time, as the run directory has one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "run_id"
        if not path.exists():
            _write_durably(path, uuid.uuid4().hex.encode())
        self.run_id = path.read_text(encoding="ascii")
        for path in folder.glob("*.partial"):
            path.unlink()
        for path in folder.glob("*.jsonl"):  # one that was not finished
            if not path.with_suffix(".json").exists():
                path.unlink()

    def submissions(self) -> list[Submission]:
        """All of them, in the order of their files."""
        paths = sorted(self._folder.glob("*.json"))
        return [Submission.model_validate_json(path.read_bytes()) for path in paths]

    def requests_path(self, name: str) -> Path:
        """Where a file of requests lies until it has ended."""
        return self._folder / f"{name}.jsonl"

    def results_path(self, name: str) -> Path:
        """Where a file of results may be downloaded to; what lies there is gone with the process."""
        return self._folder / f"{name}.results.partial"

    def tags(self, submission: Submission) -> Mapping[str, str]:
        """What its batch is found by."""
        return {
            "metamath_ray_run": self.run_id,
            "metamath_ray_file": submission.name,
            "sha256": submission.sha256,
        }

    def write(self, submission: Submission) -> None:
        """Put a record in place of the one before it; the file of one that has ended is of no more use."""
        _write_durably(self._folder / f"{submission.name}.json", submission.model_dump_json().encode())
        if submission.ended is not None:
            self.requests_path(submission.name).unlink(missing_ok=True)

    def forget(self, submission: Submission) -> None:
        """Remove one of which no batch was made."""
        (self._folder / f"{submission.name}.json").unlink()
        self.requests_path(submission.name).unlink(missing_ok=True)

    def new_name(self) -> str:
        """A name for the next file, behind all others."""
        numbers = [int(path.stem) for path in self._folder.glob("*.json")]
        return f"{max(numbers, default=0) + 1:04d}"


def count_open_batches(folder: Path) -> int:
    """How many batches of the journal in `folder` had not ended when it was last written; 0 without a journal."""
    return len(list(folder.glob("*.jsonl")))


def write_requests(
    journal: BatchJournal, lines: Iterable[RequestLine], limits: BatchOptions
) -> Iterator[Submission]:
    """Write the lines into files within the limits; each is on disk, with its record, when it is given."""
    writer: _FileWriter | None = None
    for line in lines:
        if writer is not None and not writer.has_room_for(line):
            yield writer.finish()
            writer = None
        writer = writer or _FileWriter(journal, limits)
        writer.add(line)
    if writer is not None:
        yield writer.finish()


class _FileWriter:
    def __init__(self, journal: BatchJournal, limits: BatchOptions) -> None:
        self._journal = journal
        self._limits = limits
        self._name = journal.new_name()
        self._file = journal.requests_path(self._name).open("wb")
        self._digest = hashlib.sha256()
        self._num_requests = self._num_samples = self._num_bytes = 0
        self._later: dict[str, int] = {}

    def has_room_for(self, line: RequestLine) -> bool:
        size = self._num_bytes + len(line.data)
        return self._num_requests < self._limits.max_requests and size <= self._limits.max_megabytes * 1e6

    def add(self, line: RequestLine) -> None:
        self._file.write(line.data)
        self._digest.update(line.data)
        self._num_requests += 1
        self._num_samples += line.request.num_samples
        self._num_bytes += len(line.data)
        if line.request.first_sample:
            self._later[line.custom_id] = line.request.first_sample

    def finish(self) -> Submission:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        submission = Submission(
            name=self._name,
            sha256=self._digest.hexdigest(),
            num_requests=self._num_requests,
            num_samples=self._num_samples,
            later_samples=self._later,
        )
        self._journal.write(submission)
        return submission


def _write_durably(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _fsync_folder(path.parent)
