"""Every request asked until it is answered: as many in flight as allowed, each kept as it arrives."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from metamath_ray.evaluation._clients import AttemptFailedError, Client, EngineLostError
from metamath_ray.evaluation._journal import FAILED, Completion
from metamath_ray.evaluation._keys import Request
from metamath_ray.evaluation._replica import Answer

logger = logging.getLogger(__name__)

Keep = Callable[[Sequence[tuple[Request, Completion]]], None]
"""What takes completions as they arrive."""

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may take (None: as long as it does), and how long it may go on failing, in seconds."""

    request_timeout_s: float | None
    deadline_s: float


@dataclass(slots=True)
class Traffic:
    """Counters of a dispatch, for a progress line; written by it alone."""

    in_flight: int = 0
    answered: int = 0
    retries: int = 0
    refused: int = 0
    completion_tokens: int = 0


def order_requests(requests: Sequence[Request]) -> list[Request]:
    """Longest first, so that no long one is left to run alone at the end: by token limit, then by prompt.

    Fixed: the same requests give the same order, whatever order they come in.
    """
    return sorted(
        requests,
        key=lambda one: (-one.sampling.max_new_tokens, -len(one.prompt), one.benchmark, one.key),
    )


async def dispatch(
    requests: Sequence[Request],
    client: Client,
    *,
    max_in_flight: int,
    patience: Patience,
    keep: Keep,
    traffic: Traffic,
) -> None:
    """Ask for every completion in the order given; returns when all are kept.

    `keep` is called in a thread, one call at a time, with what has arrived since the last. Raises `EngineLostError`
    and `BadEndpointError`; all that had arrived is kept then.
    """
    arrived: asyncio.Queue[tuple[Request, Completion] | None] = asyncio.Queue()
    queue = iter(requests)
    keeper = asyncio.create_task(_keep_arrived(arrived, keep))
    askers = [
        asyncio.create_task(_ask_on(queue, client, patience, arrived, traffic))
        for _ in range(min(max_in_flight, len(requests)))
    ]
    all_asked = asyncio.gather(*askers)
    try:
        either: list[asyncio.Future[Any]] = [all_asked, keeper]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if all_asked.done():
            all_asked.result()
    finally:
        for task in askers:
            task.cancel()
        await asyncio.gather(all_asked, *askers, return_exceptions=True)
        arrived.put_nowait(None)
        await keeper


async def _keep_arrived(arrived: "asyncio.Queue[tuple[Request, Completion] | None]", keep: Keep) -> None:
    """Hand over what has arrived, all of it at once, until a None says that nothing more will."""
    while True:
        items = [await arrived.get()]
        while not arrived.empty():
            items.append(arrived.get_nowait())
        batch = [item for item in items if item is not None]
        if batch:
            await asyncio.to_thread(keep, batch)
        if len(batch) < len(items):
            return


async def _ask_on(
    queue: Iterator[Request],
    client: Client,
    patience: Patience,
    arrived: "asyncio.Queue[tuple[Request, Completion] | None]",
    traffic: Traffic,
) -> None:
    for request in queue:  # shared by all askers
        traffic.in_flight += 1
        try:
            completion = await _complete(request, client, patience, traffic)
        finally:
            traffic.in_flight -= 1
        traffic.answered += 1
        traffic.completion_tokens += completion.completion_tokens
        arrived.put_nowait((request, completion))


async def _complete(request: Request, client: Client, patience: Patience, traffic: Traffic) -> Completion:
    failing_since = None
    pause_s = _FIRST_PAUSE_S
    while True:
        started = time.monotonic()
        try:
            async with asyncio.timeout(patience.request_timeout_s):
                answer = await client.ask(request)
            return _completion(request, answer, time.monotonic() - started, traffic)
        except (AttemptFailedError, TimeoutError) as error:
            reason = str(error) or f"no answer within {patience.request_timeout_s or 0:.0f} s"
            retry_after_s = error.retry_after_s if isinstance(error, AttemptFailedError) else 0.0
        traffic.retries += 1
        failing_since = failing_since or started
        if time.monotonic() - failing_since > patience.deadline_s:
            raise EngineLostError(
                f"{request.problem.id} had no completion for {patience.deadline_s:.0f} s; the last failure: {reason}"
            )
        logger.debug("%s: asked again: %s", request.problem.id, reason)
        await asyncio.sleep(max(retry_after_s, pause_s * random.uniform(0.5, 1.5)))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _completion(request: Request, answer: Answer, seconds: float, traffic: Traffic) -> Completion:
    if answer.finish_reason == FAILED:
        traffic.refused += 1
        logger.warning("%s was refused: %s", request.problem.id, answer.refusal)
    return Completion(
        key=request.key,
        problem_id=request.problem.id,
        sample_index=request.sample_index,
        text=answer.text,
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        seconds=seconds,
    )
