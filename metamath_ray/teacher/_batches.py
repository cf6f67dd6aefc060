"""The teacher through the provider's batch interface: another way to fill the same ledger, at a lower price.

requests ─► what the ledger lacks ─► files ─► upload, create ─► look, now and then ─► download ─► ledger
                   ▲                                                                       │
                   └──────────── what came without a reply, what the budget held back ─────┘
"""

import itertools
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from metamath_ray.teacher._batch_client import BatchClient, BatchProblem, BatchState, why_refused
from metamath_ray.teacher._batch_journal import BatchJournal, Ended, Submission, write_requests
from metamath_ray.teacher._batch_lines import RequestLine, encode_line, split_samples
from metamath_ray.teacher._batch_misses import Misses
from metamath_ray.teacher._batch_price import BatchPrice, total_load
from metamath_ray.teacher._batch_results import Flight, Settlement
from metamath_ray.teacher._demands import Counters
from metamath_ray.teacher._leases import TeacherStoppedError
from metamath_ray.teacher._ledger import LedgerReader, Place
from metamath_ray.teacher._options import ApiKey, TeacherOptions
from metamath_ray.teacher._requests import ChatRequest, Failure, Reply, request_keys
from metamath_ray.teacher._segments import SegmentWriter

logger = logging.getLogger(__name__)

_STORED_AT_ONCE = 500  # results, with one fsync
_BARREN_AT_MOST = 3  # batches in a row without a single answer
_QUEUE_FULL = "token_limit_exceeded"


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """The batches that have not ended, by the provider's words for it, and how many of their requests are done.

    `num_ended` and `usd` are those of this run of the command.
    """

    states: tuple[tuple[str, int], ...] = ()
    completed: int = 0
    failed: int = 0
    total: int = 0
    num_ended: int = 0
    usd: float = 0.0


class BatchTeacher:
    """Buys replies by batches; one process, one thread. `status` may be read from another one meanwhile.

    `folder` is its journal. Replies in `reader` are not bought; those that come are stored in `ledger_folder` and
    added to it. `spent_usd` was spent otherwise.
    """

    def __init__(
        self,
        options: TeacherOptions,
        *,
        api_key: ApiKey,
        folder: Path,
        ledger_folder: Path,
        reader: LedgerReader,
        budget_usd: float | None = None,
        spent_usd: float = 0.0,
        client: BatchClient | None = None,
    ) -> None:
        self._options = options
        self._client = client or BatchClient(options, api_key)
        self._journal = BatchJournal(folder)
        self._writer = SegmentWriter(ledger_folder)
        self._reader = reader
        self._budget_usd = budget_usd
        self._left_usd = None if budget_usd is None else budget_usd - spent_usd
        self._price = BatchPrice(options)
        self._misses = Misses()
        self._flights: list[Flight] = []
        self._most_in_flight = math.inf  # bytes of requests
        self._is_held_back = False
        self._num_barren = self._num_ended = 0
        self.counters = Counters()
        self.num_bought = 0
        self.status = BatchStatus()
        self._recall()

    @property
    def failures(self) -> dict[str, Failure]:
        """The samples that the teacher will not give, by their keys."""
        return self._misses.failures

    def outcomes(self, request: ChatRequest) -> list[Reply | Failure | None]:
        """What is known of each sample: a reply, that there will be none, or nothing yet."""
        keys = request_keys(request, self._options)
        return [self._reader.get(key) or self.failures.get(key) for key in keys]

    def buy(self, requests: Callable[[], Iterable[ChatRequest]]) -> None:
        """Buy all samples of the requests that are not settled; `requests` is asked again after each batch.

        So it may give what follows from the replies that came. Every reply is in the ledger by then. Raises
        `TeacherStoppedError` where budget, key, quota or a silent provider end the run: what was submitted goes
        on at the provider, and the next run takes its replies.
        """
        while True:
            self._submit_missing(requests())
            if not self._flights:
                return
            self._wait()

    def close(self) -> None:
        """Close connections and files."""
        self._client.close()
        self._writer.close()

    def _recall(self) -> None:
        """Take up what runs before this one have submitted."""
        for submission in self._journal.submissions():
            if submission.ended is not None:
                self._misses.add(submission.ended.misses, was_answered=True)
                self._pay(submission.ended)
            elif submission.batch_id is not None:
                self._fly(submission, is_recalled=True)
            elif (state := self._client.find(self._journal.tags(submission))) is not None:
                self._fly(self._created(submission, state), is_recalled=True)
            else:
                self._journal.forget(submission)
        self._misses.forgive_faults()

    def _created(self, submission: Submission, state: BatchState) -> Submission:
        created = submission.model_copy(update={"batch_id": state.id})
        self._journal.write(created)
        return created

    def _fly(self, submission: Submission, *, is_recalled: bool) -> None:
        path = self._journal.requests_path(submission.name)
        self._flights.append(Flight(submission, path, is_recalled).read(self._options))

    def _submit_missing(self, requests: Iterable[ChatRequest]) -> None:
        """Write what is missing into files, as much as may be in flight, and make a batch of each."""
        self._is_held_back = False
        lines = self._allowed_lines(self._missing_lines(requests))
        for submission in write_requests(self._journal, lines, self._options.batch):
            file_id = self._client.upload(self._journal.requests_path(submission.name))
            state = self._client.create(file_id, self._journal.tags(submission))
            self._fly(self._created(submission, state), is_recalled=False)
        if self._is_held_back and not self._flights:
            raise TeacherStoppedError(
                f"the budget of {self._budget_usd} USD is spent but for {self._left_usd:.2f} USD, "
                "which may not pay for another request"
            )

    def _missing_lines(self, requests: Iterable[ChatRequest]) -> Iterator[RequestLine]:
        """The requests of a batch for samples that are neither known, nor in flight, nor wanted twice."""
        taken: set[str] = set().union(*(flight.keys for flight in self._flights))
        for request in requests:
            known = zip(
                request.samples,
                request_keys(request, self._options),
                self.outcomes(request),
                strict=True,
            )
            missing = {n: key for n, key, outcome in known if outcome is None and key not in taken}
            taken.update(missing.values())
            alone = {n for n, key in missing.items() if self._misses.is_asked_alone(key)}
            most = self._options.samples_per_request
            for part in split_samples(request, missing.keys() - alone, most=most):
                yield encode_line(part, self._options)
            for part in split_samples(request, alone, most=1):
                yield encode_line(part, self._options)

    def _allowed_lines(self, lines: Iterable[RequestLine]) -> Iterator[RequestLine]:
        """As many of them as the budget and the provider's queue have room for beside what is in flight."""
        load = total_load(flight.load for flight in self._flights)
        for line in lines:
            load.add(line)
            is_first = load.size == len(line.data)
            is_too_much = load.size > self._most_in_flight and not is_first
            if is_too_much or (self._left_usd is not None and self._price.most_usd(load) > self._left_usd):
                self._is_held_back = True
                return
            yield line

    def _wait(self) -> None:
        """Until all batches have ended; or one, where requests wait for its end."""
        while self._flights:
            seen = [(flight, self._client.look(_id_of(flight))) for flight in self._flights]
            self._show([state for _, state in seen])
            ended = [(flight, state) for flight, state in seen if state.has_ended]
            reasons = [self._settle(flight, state) for flight, state in ended]
            if (reason := next((one for one in reasons if one is not None), None)) is not None:
                raise TeacherStoppedError(reason)
            self._show([state for _, state in seen if not state.has_ended])
            if ended and self._is_held_back:
                return
            if self._flights:
                time.sleep(self._options.batch.poll_every)

    def _settle(self, flight: Flight, state: BatchState) -> str | None:
        """Take in all that came of a batch that has ended, whatever its end was; gives a reason to end the run.

        What an earlier run has submitted gives none: whether the reason still holds is tried anew.
        """
        settlement = Settlement(flight, self._options, self._price.learn)
        files = [file for file in (state.output_file, state.error_file) if file is not None]
        for file_id in files:
            self._take_results(file_id, flight, settlement)
        is_refused = state.status == "failed" and not files
        ended = Ended(status=state.status) if is_refused else settlement.end(state.status)
        self._journal.write(flight.submission.model_copy(update={"ended": ended}))
        self._flights.remove(flight)
        self._num_ended += 1
        self._count(settlement, ended, usd=self._pay(ended))
        speaks = self._misses.add(ended.misses, was_answered=settlement.num_answered > 0)
        self._num_barren = 0 if speaks else self._num_barren + 1
        if flight.is_recalled:
            self._num_barren = 0
            return None
        return self._learn_refusal(flight, state) if is_refused else self._why_stop(settlement, state)

    def _why_stop(self, settlement: Settlement, state: BatchState) -> str | None:
        if settlement.stop is not None:
            return settlement.stop
        if state.status == "cancelled":
            return f"batch {state.id} was cancelled at the provider"
        if self._num_barren >= _BARREN_AT_MOST:
            return f"{self._num_barren} batches in a row brought no answer, last: {settlement.causes[-1]}"
        return None

    def _take_results(self, file_id: str, flight: Flight, settlement: Settlement) -> None:
        target = self._journal.results_path(flight.submission.name)
        self._client.download(file_id, target)
        with target.open("rb") as file:
            while lines := list(itertools.islice(file, _STORED_AT_ONCE)):
                self._store([pair for line in lines for pair in settlement.take(line)])
        target.unlink()

    def _store(self, replies: list[tuple[Reply, bytes]]) -> None:
        new = [(reply, line) for reply, line in replies if self._reader.get(reply.key) is None]
        if not new:
            return
        lines = [line for _, line in new]
        offsets = self._writer.append(lines)
        for (reply, line), offset in zip(new, offsets, strict=True):
            self._reader.add(reply.key, Place(str(self._writer.path), offset, len(line)))
        self.num_bought += len(new)

    def _pay(self, ended: Ended) -> float:
        usd = self._options.usd(
            prompt_tokens=ended.prompt_tokens, completion_tokens=ended.completion_tokens, in_batch=True
        )
        if self._left_usd is not None:
            self._left_usd -= usd
        return usd

    def _count(self, settlement: Settlement, ended: Ended, *, usd: float) -> None:
        more = Counters(
            calls_made=settlement.num_billed,
            calls_failed=settlement.num_failed,
            prompt_tokens=ended.prompt_tokens,
            completion_tokens=ended.completion_tokens,
            usd=usd,
            http_429=settlement.causes.count("http_429"),
            retries=len(settlement.causes),
        )
        self.counters = self.counters.plus(more)

    def _learn_refusal(self, flight: Flight, state: BatchState) -> str | None:
        """A full queue takes less at a time; any other refusal of a whole file is a reason to end the run."""
        problem = state.problems[0] if state.problems else BatchProblem("unknown", "no reason was given")
        if problem.code == _QUEUE_FULL and flight.submission.num_requests > 1:
            others = total_load(other.load for other in self._flights).size
            self._most_in_flight = min(self._most_in_flight, max(others, flight.load.size / 2))
            self._is_held_back = True
            logger.warning("the provider's queue is full, less is sent at a time: %s", problem.message)
            return None
        return why_refused(state.id, problem)

    def _show(self, states: list[BatchState]) -> None:
        self.status = BatchStatus(
            states=tuple(sorted(Counter(state.status for state in states).items())),
            completed=sum(state.completed for state in states),
            failed=sum(state.failed for state in states),
            total=sum(state.total for state in states),
            num_ended=self._num_ended,
            usd=self.counters.usd,
        )


def _id_of(flight: Flight) -> str:
    assert flight.submission.batch_id is not None
    return flight.submission.batch_id
