"""Asks the teacher, each sample once: ledger first, then the endpoint, stored before it is handed on."""

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path

from metamath_ray.teacher._asks import EMPTY_ASKED, Ask, give_up, record_context, share_out
from metamath_ray.teacher._client import Completion, TeacherClient
from metamath_ray.teacher._commit import GroupCommit
from metamath_ray.teacher._faults import Fault, Reject, Retry, Stop
from metamath_ray.teacher._handles import GovernorHandle
from metamath_ray.teacher._health import PATIENT, Backoff, Health
from metamath_ray.teacher._leases import LeaseHolder, TeacherStoppedError
from metamath_ray.teacher._ledger import LedgerIndex, LedgerReader
from metamath_ray.teacher._metrics import Meter
from metamath_ray.teacher._options import ApiKeys, TeacherOptions, resolve_endpoints
from metamath_ray.teacher._requests import ChatRequest, Failure, Outcome, request_keys
from metamath_ray.teacher._segments import SegmentWriter, encode_record

logger = logging.getLogger(__name__)

_FAULTS_AT_LEAST = 5  # before one prompt is given up that fails where others are answered
_LONE_CHOICES = 3  # in a row where more were asked for: the endpoint ignores n
_FAULTS_TO_AVOID = 3  # in a row: what waits goes to the other endpoints for a while
_FAULTS_TO_STOP = 3  # in a row, at least: one after an idle hour is no hour of silence


class TeacherWorker:
    """One process's way to the teacher; lives on one event loop, any number of `ask` at once.

    `failures` says, where there is no endpoint, what became of requests that the ledger does not hold.
    """

    def __init__(
        self,
        options: TeacherOptions,
        *,
        governor: GovernorHandle,
        index: LedgerIndex,
        ledger_folder: Path,
        api_keys: ApiKeys,
        backoff: Backoff = PATIENT,
        meter: Meter | None = None,
        failures: Mapping[str, Failure] | None = None,
    ) -> None:
        self._options = options
        self._failures = failures or {}
        self._meter = meter
        self._backoff = backoff
        self._endpoints = endpoints = resolve_endpoints(options)
        self._leases = LeaseHolder(governor, num_endpoints=len(endpoints))
        self._folder = ledger_folder
        self._reader = LedgerReader(index)
        self._reader.add_new_records(ledger_folder)  # what a worker that died before us had stored
        self._commit = GroupCommit(SegmentWriter(ledger_folder))
        self._clients = [
            TeacherClient(options, endpoint=endpoint, api_key=api_keys[endpoint.api_key_env])
            for endpoint in endpoints
            if endpoint.base_url is not None
        ]
        self._health = [Health() for _ in endpoints]
        self._asked: dict[str, asyncio.Future[Outcome]] = {}  # keys that are on their way
        self._samples_per_request = options.samples_per_request
        self._lone_choices = 0

    async def ask(self, request: ChatRequest) -> list[Outcome]:
        """The outcome of each sample asked for, in their order. Every `Reply` is in the ledger by then.

        Raises OSError where the ledger can't be written, `LedgerDamagedError` where it can't be read.
        """
        done: dict[int, Outcome] = {}
        missing: dict[int, str] = {}
        on_their_way: dict[int, asyncio.Future[Outcome]] = {}
        for sample, key in zip(request.samples, request_keys(request, self._options), strict=True):
            if (reply := self._reader.get(key)) is not None:
                done[sample] = reply
            elif key in self._asked:
                on_their_way[sample] = self._asked[key]
            else:
                missing[sample] = key
        self._leases.count(calls_reused=len(done))
        done |= await self._ask_all(Ask(request, missing))
        for sample, asked in on_their_way.items():
            await asyncio.wait([asked])
            if asked.cancelled():  # whoever asked was stopped by an error: now it is ours to ask
                done[sample] = (await self.ask(ChatRequest(request.messages, sample)))[0]
            else:
                done[sample] = asked.result()
        return [done[sample] for sample in request.samples]

    def look_again(self) -> None:
        """Find what other workers have stored meanwhile, so that none of it is asked for again."""
        self._reader.add_new_records(self._folder)

    async def report(self) -> None:
        """Bring the governor's counters up to date."""
        await self._leases.report()

    async def close(self) -> None:
        """Close connections and files; nobody may be asking any more."""
        for client in self._clients:
            await client.close()
        await self._commit.close()
        self._reader.close()

    async def _ask_all(self, ask: Ask) -> dict[int, Outcome]:
        """Ask until every sample is settled; who needs one of them meanwhile waits for it."""
        asked = {key: asyncio.get_running_loop().create_future() for key in ask.missing.values()}
        self._asked |= asked
        done: dict[int, Outcome] = {}
        try:
            while ask.missing:
                settled = await self._ask_once(ask)
                for outcome in settled.values():
                    asked[outcome.key].set_result(outcome)
                done |= settled
        finally:
            for key, future in asked.items():
                del self._asked[key]
                future.cancel()  # does nothing to those that have their outcome
        return done

    async def _ask_once(self, ask: Ask) -> dict[int, Outcome]:
        """Ask for samples that are missing, once; takes those that are settled out of `ask.missing`."""
        if not self._clients:
            return self._go_without(ask)
        try:
            at = await self._leases.acquire()
        except TeacherStoppedError as error:
            return give_up(ask, "stopped", str(error))
        wanted = 1 if ask.one_by_one else min(len(ask.missing), self._samples_per_request)
        client = self._clients[at]
        answer: Completion | Fault | None = None
        started = time.monotonic()
        try:
            answer = await client.complete(ask.request.messages, num_samples=wanted)
        finally:
            if isinstance(answer, Retry | Stop):  # nothing more goes there before it is clear what that means
                self._leases.hand_back(at)
            self._leases.release(at)
            if self._meter is not None:
                self._meter.call(self._endpoints[at].name, answer, time.monotonic() - started)
        self._leases.see_headers(at, client.headers)
        if isinstance(answer, Completion):
            return await self._take(ask, answer, wanted, at)
        self._leases.count(calls_failed=1)
        return await self._suffer(ask, answer, wanted, at)

    def _go_without(self, ask: Ask) -> dict[int, Outcome]:
        known = {sample: self._failures.get(key) for sample, key in ask.missing.items()}
        unknown = give_up(ask, "not_recorded", "no endpoint was given and the ledger does not hold it")
        return unknown | {sample: failure for sample, failure in known.items() if failure is not None}

    async def _take(self, ask: Ask, answer: Completion, wanted: int, at: int) -> dict[int, Outcome]:
        """Store what came, and settle the samples it answers."""
        self._health[at].reply(time.monotonic())
        self._count_call(answer, at)
        self._learn_n(ask, len(answer.choices), wanted)
        replies = list(share_out(ask, answer, self._options.model))
        if not replies:
            ask.empties += 1
            exhausted = ask.empties >= EMPTY_ASKED
            return give_up(ask, "empty", f"no content, asked {EMPTY_ASKED} times") if exhausted else {}
        context = record_context(ask.request.messages)
        places = await self._commit.store([encode_record(reply, context) for reply in replies])
        for reply, place in zip(replies, places, strict=True):
            self._reader.add(reply.key, place)
            ask.settle(reply.sample_index)
        return {reply.sample_index: reply for reply in replies}

    def _learn_n(self, ask: Ask, num_choices: int, wanted: int) -> None:
        """Stop asking for several samples at once where the endpoint refuses that or takes no notice."""
        if ask.one_by_one:  # the prompt was fine, n was not
            self._samples_per_request = 1
        if 0 < num_choices < wanted:
            self._leases.count(fewer_samples_than_asked=1)
        if wanted > 1:
            self._lone_choices = self._lone_choices + 1 if num_choices == 1 else 0
            if self._lone_choices >= _LONE_CHOICES:
                self._samples_per_request = 1

    async def _suffer(self, ask: Ask, fault: Fault, wanted: int, at: int) -> dict[int, Outcome]:
        """Act on a fault: take the endpoint out, give the request up, or wait before it is asked again."""
        if isinstance(fault, Stop):
            return await self._take_out(ask, at, fault.reason)
        if isinstance(fault, Retry):
            return await self._wait_after(ask, fault, at)
        self._health[at].reply(time.monotonic())  # a refusal is an answer
        if wanted > 1:  # perhaps it is the n that the endpoint does not take
            ask.one_by_one = True
            return {}
        return self._reject(ask, fault)

    async def _take_out(self, ask: Ask, at: int, reason: str) -> dict[int, Outcome]:
        """Use the endpoint no more; the request goes to another one, if there is one left."""
        stop = await self._leases.take_out(at, reason)
        return {} if stop is None else give_up(ask, "stopped", stop)

    def _reject(self, ask: Ask, fault: Reject) -> dict[int, Outcome]:
        logger.warning("the teacher rejected a request: %s", fault.detail)
        return give_up(ask, "rejected", fault.detail)

    async def _wait_after(self, ask: Ask, fault: Retry, at: int) -> dict[int, Outcome]:
        self._leases.count(retries=1, http_429=int(fault.cause == "http_429"))
        now = time.monotonic()
        ask.faults += 1
        ask.first_fault_at = ask.first_fault_at or now
        silent_s = self._health[at].fault(now)
        if (reason := self._why_stop(silent_s, self._health[at].faults, fault)) is not None:
            return await self._take_out(ask, at, reason)
        if self._only_this_fails(ask, fault, now):
            logger.warning("gave a request up after %d faults, last: %s", ask.faults, fault.cause)
            return give_up(ask, "unanswered", f"{ask.faults} faults, last: {fault.cause}")
        if fault.slow_down or fault.retry_after_s is not None:
            self._leases.throttled(at, fault.retry_after_s)
        elif (faults := self._health[at].faults) >= _FAULTS_TO_AVOID:
            self._leases.avoid(at, self._backoff.wait_s(faults - _FAULTS_TO_AVOID + 2))
        await asyncio.sleep(self._backoff.wait_s(ask.faults))
        return {}

    def _why_stop(self, silent_s: float, num_faults: int, fault: Retry) -> str | None:
        limit_s = self._options.give_up_after
        if silent_s > limit_s and num_faults >= _FAULTS_TO_STOP:
            return f"the teacher gave no reply for {silent_s:.0f} s, last: {fault.cause}"
        if (pause_s := fault.retry_after_s or 0.0) > limit_s:
            return f"the teacher wants a pause of {pause_s:.0f} s, more than teacher.give_up_after ({limit_s:.0f} s)"
        return None

    def _only_this_fails(self, ask: Ask, fault: Retry, now: float) -> bool:
        """Others were answered all the while: it is the prompt, not the teacher (a 429 is never the prompt)."""
        age_s = now - ask.first_fault_at
        others_answered = any(health.last_reply_at > ask.first_fault_at for health in self._health)
        return (
            not fault.slow_down
            and others_answered
            and ask.faults >= _FAULTS_AT_LEAST
            and age_s > self._options.give_up_after
        )

    def _count_call(self, answer: Completion, at: int) -> None:
        usd = self._options.usd(
            prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens
        )
        self._leases.bill(at, answer.prompt_tokens + answer.completion_tokens)
        self._leases.count(
            calls_made=1,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            usd=usd,
        )
