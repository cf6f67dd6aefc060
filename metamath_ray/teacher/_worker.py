"""Asks the teacher, each sample once: ledger first, then the endpoint, stored before it is handed on."""

import asyncio
import logging
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metamath_ray.teacher._client import Completion, TeacherClient
from metamath_ray.teacher._commit import GroupCommit
from metamath_ray.teacher._faults import Fault, Reject, Retry, Stop
from metamath_ray.teacher._governor import GovernorHandle
from metamath_ray.teacher._leases import LeaseHolder, TeacherStoppedError
from metamath_ray.teacher._ledger import LedgerIndex, LedgerReader
from metamath_ray.teacher._options import ApiKey, TeacherOptions
from metamath_ray.teacher._requests import ChatRequest, Failure, Outcome, Reply, canonical_json, request_keys
from metamath_ray.teacher._segments import SegmentWriter, encode_record

logger = logging.getLogger(__name__)

_EMPTY_ASKED = 3
_BACKOFF_FIRST_S = 0.5
_BACKOFF_MAX_S = 30.0


@dataclass
class _Ask:
    """One prompt on its way: which samples are still missing, and how often it failed."""

    request: ChatRequest
    missing: dict[int, str]  # sample index → ledger key
    faults: int = 0
    empties: int = 0


class TeacherWorker:
    """One process's way to the teacher; lives on one event loop, any number of `ask` at once."""

    def __init__(
        self,
        options: TeacherOptions,
        *,
        governor: GovernorHandle,
        index: LedgerIndex,
        ledger_folder: Path,
        api_key: ApiKey,
    ) -> None:
        self._options = options
        self._leases = LeaseHolder(governor)
        self._reader = LedgerReader(index)
        self._reader.add_new_segments(ledger_folder)  # what a worker that died before us had stored
        self._commit = GroupCommit(SegmentWriter(ledger_folder))
        self._client = TeacherClient(options, api_key) if options.base_url else None
        self._samples_per_request = options.samples_per_request
        self._last_reply_at = time.monotonic()

    async def ask(self, request: ChatRequest) -> list[Outcome]:
        """The outcome of each sample asked for, in their order. Every `Reply` is in the ledger by then.

        Raises OSError where the ledger can't be written, `LedgerDamagedError` where it can't be read.
        """
        keys = dict(zip(request.samples, request_keys(request, self._options), strict=True))
        done: dict[int, Outcome] = {}
        for sample, key in keys.items():
            if (reply := self._reader.get(key)) is not None:
                done[sample] = reply
        self._leases.count(calls_reused=len(done))
        ask = _Ask(request, {sample: key for sample, key in keys.items() if sample not in done})
        while ask.missing:
            done.update(await self._ask_once(ask))
        return [done[sample] for sample in request.samples]

    async def report(self) -> None:
        """Bring the governor's counters up to date."""
        await self._leases.report()

    async def _ask_once(self, ask: _Ask) -> dict[int, Outcome]:
        """Ask for samples that are missing, once; takes those that are settled out of `ask.missing`."""
        if self._client is None:
            return _give_up(ask, "not_recorded", "no endpoint was given and the ledger does not hold it")
        wanted = min(len(ask.missing), self._samples_per_request)
        try:
            await self._leases.acquire()
        except TeacherStoppedError as error:
            return _give_up(ask, "stopped", str(error))
        try:
            answer = await self._client.complete(ask.request.messages, num_samples=wanted)
        finally:
            self._leases.release()
        if isinstance(answer, Completion):
            return await self._take(ask, answer, wanted)
        self._leases.count(calls_failed=1)
        return await self._suffer(ask, answer, wanted)

    async def _take(self, ask: _Ask, answer: Completion, wanted: int) -> dict[int, Outcome]:
        """Store what came, and settle the samples it answers."""
        self._last_reply_at = time.monotonic()
        replies = list(_share_out(ask, answer, self._options.model))
        self._count_call(answer)
        await self._commit.store([encode_record(reply, self._context(ask)) for reply in replies])
        for reply in replies:
            self._reader.add(reply)
            del ask.missing[reply.sample_index]
        if 0 < len(answer.choices) < wanted:
            self._leases.count(fewer_samples_than_asked=1)
            if len(answer.choices) == 1:  # the endpoint ignores n
                self._samples_per_request = 1
        settled: dict[int, Outcome] = {reply.sample_index: reply for reply in replies}
        if not replies:
            ask.empties += 1
            if ask.empties >= _EMPTY_ASKED:
                settled.update(_give_up(ask, "empty", f"no content, asked {_EMPTY_ASKED} times"))
        return settled

    async def _suffer(self, ask: _Ask, fault: Fault, wanted: int) -> dict[int, Outcome]:
        """Act on a fault: stop the run, give the request up, or wait before it is asked again."""
        if isinstance(fault, Stop):
            await self._leases.stop(fault.reason)
            return _give_up(ask, "stopped", fault.reason)
        if isinstance(fault, Reject):
            if wanted > 1:  # perhaps it is the n that the endpoint does not take
                self._samples_per_request = 1
                return {}
            logger.warning("the teacher rejected a request: %s", fault.detail)
            return _give_up(ask, "rejected", fault.detail)
        return await self._wait_after(ask, fault)

    async def _wait_after(self, ask: _Ask, fault: Retry) -> dict[int, Outcome]:
        ask.faults += 1
        self._leases.count(retries=1, http_429=int(fault.cause == "http_429"))
        silent_s = time.monotonic() - self._last_reply_at
        if silent_s > self._options.give_up_after:
            reason = f"the teacher gave no reply for {silent_s:.0f} s, last: {fault.cause}"
            await self._leases.stop(reason)
            return _give_up(ask, "stopped", reason)
        if fault.slow_down or fault.retry_after_s is not None:
            self._leases.throttled(fault.retry_after_s)
        await asyncio.sleep(_backoff_s(ask.faults, fault.retry_after_s))
        return {}

    def _count_call(self, answer: Completion) -> None:
        usd = self._options.usd(
            prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens
        )
        self._leases.count(
            calls_made=1,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            usd=usd,
        )

    def _context(self, ask: _Ask) -> dict[str, Any]:
        """What a person needs to read a record: the last message, what stood before it, and when."""
        *before, last = ask.request.messages
        return {
            "user": last["content"],
            "prompt": _short_digest(before),
            "time": int(time.time()),
        }


def _short_digest(messages: list[Any]) -> str:
    import hashlib

    return hashlib.sha256(canonical_json(messages)).hexdigest()[:16]


def _give_up(ask: _Ask, reason: Any, detail: str) -> dict[int, Outcome]:
    failures: dict[int, Outcome] = {
        sample: Failure(key, reason, detail) for sample, key in ask.missing.items()
    }
    ask.missing.clear()
    return failures


def _share_out(ask: _Ask, answer: Completion, model: str) -> Iterator[Reply]:
    """Give the choices that hold text to the missing samples, and split the bill among them."""
    choices = [choice for choice in answer.choices if choice.text.strip() or choice.finish_reason == "length"]
    total_chars = sum(len(choice.text) for choice in choices) or 1
    chars = billed = 0
    for (sample, key), choice in zip(sorted(ask.missing.items()), choices, strict=False):
        chars += len(choice.text)
        tokens = answer.completion_tokens * chars // total_chars - billed
        billed += tokens
        first = billed == tokens and sample == min(ask.missing)
        yield Reply(
            key=key,
            text=choice.text,
            finish_reason=choice.finish_reason,
            prompt_tokens=answer.prompt_tokens if first else 0,
            completion_tokens=tokens,
            model=model,
            sample_index=sample,
        )


def _backoff_s(faults: int, retry_after_s: float | None) -> float:
    """Exponential with full jitter above what the server named."""
    ceiling = min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2 ** (faults - 1))
    return (retry_after_s or 0.0) + random.uniform(ceiling / 4, ceiling)
