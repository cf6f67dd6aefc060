"""One pass over the candidates: tokens, lengths, and which few of them the page shows."""

import hashlib
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metamath_ray.released import released_type
from metamath_ray.reports._run import BadReportInputError

_BATCH_ROWS = 2_000  # texts of one batch are all that is held of them: some MB

_SCANNED = [
    "question_id",
    "source",
    "augmentation",
    "question",
    "sample_index",
    "response",
    "verdict",
    "prompt_tokens",
    "completion_tokens",
    "request_key",
]

Stratum = tuple[str, str]
"""Type and verdict."""


@dataclass(frozen=True, slots=True, order=True)
class Pick:
    """A candidate's place: its file and its row there; ordered by a digest of its ids, not by place."""

    priority: bytes
    file: int
    row: int


@dataclass(slots=True)
class Scan:
    """What one pass over the candidates gives; questions that could not be built are left out."""

    max_picks: int
    paths: int = 0
    prompt_tokens: Counter[str] = field(default_factory=Counter)
    completion_tokens: Counter[str] = field(default_factory=Counter)
    question_chars: Counter[int] = field(default_factory=Counter)
    response_chars: dict[bool, Counter[int]] = field(
        default_factory=lambda: {True: Counter(), False: Counter()}
    )
    picks: dict[Stratum, list[Pick]] = field(default_factory=lambda: defaultdict(list))
    _questions: set[int] = field(default_factory=set)

    def add(self, row: Mapping[str, Any], *, file: int, index: int) -> None:
        """Count one candidate, whose `question` and `response` are their lengths in characters."""
        kind = released_type(row["source"], row["augmentation"])
        self.paths += 1
        self.prompt_tokens[kind] += row["prompt_tokens"] or 0
        self.completion_tokens[kind] += row["completion_tokens"] or 0
        question = hash(row["question_id"])
        if question not in self._questions:
            self._questions.add(question)
            self.question_chars[row["question"]] += 1
        if row["response"]:
            self.response_chars[row["verdict"] == "correct"][row["response"]] += 1
        self._pick(Pick(_priority(row), file, index), self.picks[kind, row["verdict"]])

    def _pick(self, pick: Pick, picks: list[Pick]) -> None:
        if len(picks) < self.max_picks or pick < picks[-1]:
            insort(picks, pick)
            del picks[self.max_picks :]


def scan_candidates(paths: Sequence[Path], *, max_picks: int) -> Scan:
    """The figures of all candidates and the first `max_picks` of each stratum; holds no texts."""
    scan = Scan(max_picks)
    for file, path in enumerate(paths):
        index = 0
        for batch in read_batches(path, _SCANNED):
            for offset, row in enumerate(_without_texts(batch).to_pylist()):
                if row["question"]:
                    scan.add(row, file=file, index=index + offset)
            index += len(batch)
    return scan


def read_batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The file's rows in order, some thousand at a time. Raises `BadReportInputError` naming the file."""
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise BadReportInputError(f"{path} lacks the columns {', '.join(missing)}")
            yield from file.iter_batches(_BATCH_ROWS, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadReportInputError(f"{path} can't be read: {error}") from None


def share_out(sizes: Mapping[Stratum, int], total: int) -> dict[Stratum, int]:
    """How many to take of each stratum, `total` in all: equal shares, and what small ones leave goes on."""
    quotas: dict[Stratum, int] = {}
    left = total
    for place, stratum in enumerate(sorted(sizes, key=lambda key: (sizes[key], key))):
        quotas[stratum] = min(sizes[stratum], left // (len(sizes) - place))
        left -= quotas[stratum]
    return quotas


def _without_texts(batch: pa.RecordBatch) -> pa.RecordBatch:
    for name in ("question", "response"):
        lengths = pc.utf8_length(batch.column(name).fill_null(""))
        batch = batch.set_column(batch.schema.get_field_index(name), name, lengths)
    return batch


def _priority(row: Mapping[str, Any]) -> bytes:
    name = f"{row['question_id']}\n{row['request_key']}\n{row['sample_index']}"
    return hashlib.blake2b(name.encode(), digest_size=8).digest()
