"""What came of a batch, line by line: replies into the ledger, the bill, and what is to be asked again."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from metamath_ray.teacher._asks import Ask, record_context, share_out
from metamath_ray.teacher._batch_journal import Ended, Submission
from metamath_ray.teacher._batch_lines import RequestLine, decode_line, decode_result
from metamath_ray.teacher._batch_misses import Miss
from metamath_ray.teacher._batch_price import BatchLoad
from metamath_ray.teacher._client import Completion
from metamath_ray.teacher._faults import Fault, Reject, Stop
from metamath_ray.teacher._ledger import BATCH_MARK
from metamath_ray.teacher._options import TeacherOptions
from metamath_ray.teacher._requests import Reply
from metamath_ray.teacher._segments import encode_record

logger = logging.getLogger(__name__)


@dataclass
class Flight:
    """A submission whose batch has not ended: where each request stands in its file, and what it is for."""

    submission: Submission
    path: Path
    is_recalled: bool  # an earlier run has submitted it
    places: dict[str, tuple[int, int]] = field(default_factory=dict)  # custom_id → offset, length
    keys: set[str] = field(default_factory=set)
    load: BatchLoad = field(default_factory=BatchLoad)

    def read(self, options: TeacherOptions) -> "Flight":
        """Learn all that from the file; gives itself."""
        with self.path.open("rb") as file:
            offset = 0
            for data in file:
                line = self._decode(data, options)
                self.places[line.custom_id] = (offset, len(data))
                self.keys.update(line.keys)
                self.load.add(line)
                offset += len(data)
        return self

    def line(self, custom_id: str, options: TeacherOptions) -> RequestLine | None:
        """The request of that name; None where the file has none."""
        if custom_id not in self.places:
            return None
        offset, length = self.places[custom_id]
        with self.path.open("rb") as file:
            file.seek(offset)
            return self._decode(file.read(length), options)

    def _decode(self, data: bytes, options: TeacherOptions) -> RequestLine:
        custom_id = data[len(b'{"custom_id":"') :][:64].decode()
        return decode_line(data, self.submission.later_samples.get(custom_id, 0), options)


@dataclass
class Settlement:
    """Takes in the result files of one batch; `stop` says why the run ends, where a result says so.

    `causes` are the faults that replies were lost by.
    """

    flight: Flight
    options: TeacherOptions
    learn: Callable[[RequestLine, Completion], None]
    stop: str | None = None
    causes: list[str] = field(default_factory=list)
    num_answered: int = 0  # requests, refusals among them
    num_billed: int = 0
    num_failed: int = 0
    _seen: set[str] = field(default_factory=set)
    _refused: list[tuple[RequestLine, str]] = field(default_factory=list)
    _takes_n: bool = False
    _tokens: list[int] = field(default_factory=lambda: [0, 0])
    _num_replies: int = 0
    _misses: dict[str, Miss] = field(default_factory=dict)

    def take(self, data: bytes) -> list[tuple[Reply, bytes]]:
        """The replies in one line of a result file, each with its ledger record."""
        result = decode_result(data)
        line = self.flight.line(result.custom_id, self.options) if result is not None else None
        if result is None or line is None or result.custom_id in self._seen:
            return []
        self._seen.add(result.custom_id)
        answer = result.classify(size_sent=len(line.data))
        if isinstance(answer, Completion):
            return self._reply(line, answer)
        self._suffer(line, answer)
        return []

    def end(self, status: str) -> Ended:
        """Close the bill; what no line was about is missing by a fault."""
        unheard = [custom_id for custom_id in self.flight.places if custom_id not in self._seen]
        for custom_id in unheard:
            line = self.flight.line(custom_id, self.options)
            assert line is not None
            self._miss(line.keys, Miss("fault", f"no result in a batch that is {status}"))
        if self._refused:
            first = self._refused[0][1]
            logger.warning("the teacher rejected %d requests, the first: %s", len(self._refused), first)
        for line, detail in self._refused:
            is_for_n = line.request.num_samples > 1 and not self._takes_n
            self._miss(line.keys, Miss("fewer" if is_for_n else "rejected", detail))
        return Ended(
            status=status,
            num_replies=self._num_replies,
            prompt_tokens=self._tokens[0],
            completion_tokens=self._tokens[1],
            misses=self._misses,
        )

    def _reply(self, line: RequestLine, answer: Completion) -> list[tuple[Reply, bytes]]:
        self.num_answered += 1
        self.num_billed += 1
        self._takes_n |= line.request.num_samples > 1
        self._tokens[0] += answer.prompt_tokens
        self._tokens[1] += answer.completion_tokens
        self.learn(line, answer)
        # over all samples of the request, stored or not: a second download gives each the reply that it had
        ask = Ask(line.request, dict(zip(line.request.samples, line.keys, strict=True)))
        replies = list(share_out(ask, answer, self.options.model))
        self._num_replies += len(replies)
        left = set(line.keys) - {reply.key for reply in replies}
        self._miss(left, Miss("fewer") if replies else Miss("empty"))
        context = record_context(line.request.messages) | BATCH_MARK
        return [(reply, encode_record(reply, context)) for reply in replies]

    def _suffer(self, line: RequestLine, fault: Fault) -> None:
        self.num_failed += 1
        if isinstance(fault, Reject):
            self.num_answered += 1
            self._refused.append((line, fault.detail))
        elif isinstance(fault, Stop):
            self.stop = self.stop or fault.reason
            self._miss(line.keys, Miss("fault", fault.reason))
        else:
            self._miss(line.keys, Miss("fault", fault.cause))

    def _miss(self, keys: Iterable[str], miss: Miss) -> None:
        if miss.kind == "fault":
            self.causes.append(miss.detail)
        self._misses.update(dict.fromkeys(keys, miss))
