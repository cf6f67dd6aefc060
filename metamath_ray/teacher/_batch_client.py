"""OpenAI's batch protocol: upload a file of requests, create a batch of it, look at it, download what came.

Everything is asked for again while the wire or the server fails; only that a batch is created is first looked for.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from metamath_ray.teacher._faults import Fault, Retry, Stop, classify_error, classify_status
from metamath_ray.teacher._health import PATIENT, Backoff, Health
from metamath_ray.teacher._leases import TeacherStoppedError
from metamath_ray.teacher._options import ApiKey, TeacherOptions

if TYPE_CHECKING:
    from openai.types import Batch

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_A_PAGE = 100
ENDED = frozenset({"completed", "expired", "cancelled", "failed"})


@dataclass(frozen=True, slots=True)
class BatchProblem:
    """Why the provider refused a file of requests; `line` counts from 1."""

    code: str
    message: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch as the provider tells it; `tags` are those that it was created with."""

    id: str
    status: str
    tags: Mapping[str, str]
    total: int = 0
    completed: int = 0
    failed: int = 0
    output_file: str | None = None
    error_file: str | None = None
    problems: tuple[BatchProblem, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Nothing more will come of it."""
        return self.status in ENDED


def why_refused(batch_id: str, problem: BatchProblem) -> str:
    """Why a run ends whose file was refused as a whole: a used-up quota is named as single calls name it."""
    as_call = classify_status(400, {}, {"error": {"code": problem.code, "message": problem.message}})
    if isinstance(as_call, Stop):
        return as_call.reason
    at = f" in line {problem.line}" if problem.line is not None else ""
    return f"the teacher refused batch {batch_id}{at}: {problem.code}: {problem.message}"


class BatchClient:
    """The `openai` client's files and batches. All that fails for good raises `TeacherStoppedError`, in one line."""

    def __init__(self, options: TeacherOptions, api_key: ApiKey, *, backoff: Backoff = PATIENT) -> None:
        from openai import OpenAI

        self._backoff = backoff
        self._give_up_after_s = options.give_up_after
        self._where = options.base_url
        self._client = OpenAI(
            base_url=options.base_url,
            api_key=api_key.get_secret_value(),
            max_retries=0,
            timeout=options.timeout,
        )

    def upload(self, path: Path) -> str:
        """Upload a file of requests; gives the provider's name for it."""

        def ask() -> str:
            with path.open("rb") as file:
                return self._client.files.create(file=(path.name, file), purpose="batch").id

        return self._patiently(ask)

    def create(self, file_id: str, tags: Mapping[str, str]) -> BatchState:
        """Make a batch of an uploaded file, once: where no answer came, it is looked for before it is made again."""
        is_first = True

        def ask() -> BatchState:
            nonlocal is_first
            if not is_first and (made := self._look_for(tags)) is not None:
                return made
            is_first = False
            return _state_of(
                self._client.batches.create(
                    input_file_id=file_id,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                    metadata=dict(tags),
                )
            )

        return self._patiently(ask)

    def find(self, tags: Mapping[str, str]) -> BatchState | None:
        """The batch that was created with these tags; None where there is none."""
        return self._patiently(lambda: self._look_for(tags))

    def look(self, batch_id: str) -> BatchState:
        """How far a batch is."""
        return self._patiently(lambda: _state_of(self._client.batches.retrieve(batch_id)))

    def download(self, file_id: str, target: Path) -> None:
        """Write a file of results to `target`; from its start again where the connection breaks."""

        def ask() -> None:
            with self._client.files.with_streaming_response.content(file_id) as response:
                response.stream_to_file(target)

        self._patiently(ask)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _look_for(self, tags: Mapping[str, str]) -> BatchState | None:
        for batch in self._client.batches.list(limit=_A_PAGE):
            if tags.items() <= (batch.metadata or {}).items():
                return _state_of(batch)
        return None

    def _patiently(self, ask: Callable[[], _T]) -> _T:
        """Ask until there is an answer, or none for `teacher.give_up_after`."""
        import httpx2
        import openai

        health = Health()
        while True:
            try:
                return ask()
            except (openai.APIError, httpx2.HTTPError, json.JSONDecodeError, UnicodeDecodeError) as error:
                fault = classify_error(error)
            if not isinstance(fault, Retry):
                raise TeacherStoppedError(self._why_stop(fault))
            silent_s = health.fault(time.monotonic())
            if silent_s > self._give_up_after_s or (fault.retry_after_s or 0.0) > self._give_up_after_s:
                raise TeacherStoppedError(
                    f"the teacher gave no reply for {silent_s:.0f} s, last: {fault.cause}"
                )
            logger.info("the batch interface fails, asked again: %s", fault.cause)
            time.sleep(max(self._backoff.wait_s(health.faults), fault.retry_after_s or 0.0))

    def _why_stop(self, fault: Fault) -> str:
        assert not isinstance(fault, Retry)
        if not isinstance(fault, Stop):
            return f"the teacher's batch interface refused: {fault.detail}"
        is_missing = "(404)" in fault.reason or "(405)" in fault.reason
        return fault.reason + (f"; is there a batch interface at {self._where}?" if is_missing else "")


def _state_of(batch: "Batch") -> BatchState:
    counts, errors = batch.request_counts, batch.errors.data if batch.errors is not None else None
    return BatchState(
        id=batch.id,
        status=batch.status,
        tags=batch.metadata or {},
        total=counts.total if counts else 0,
        completed=counts.completed if counts else 0,
        failed=counts.failed if counts else 0,
        output_file=batch.output_file_id,
        error_file=batch.error_file_id,
        problems=tuple(BatchProblem(e.code or "", e.message or "", e.line) for e in errors or ()),
    )
