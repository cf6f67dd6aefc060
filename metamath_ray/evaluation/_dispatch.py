"""Every request asked until it is answered: as many in flight as allowed, each kept as it arrives."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from metamath_ray.evaluation._clients import AttemptFailedError, Client, EngineLostError
from metamath_ray.evaluation._journal import FAILED, Completion
from metamath_ray.evaluation._keys import Request
from metamath_ray.evaluation._replica import Answer

logger = logging.getLogger(__name__)

Keep = Callable[[Request, Completion], None]
"""What takes completions as they arrive; it is waited for, so it must be quick."""

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_REFUSALS_SHOWN = 3


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

    `keep` is called for each at once: what has arrived is kept, whatever ends the run. Raises `EngineLostError` and
    `BadEndpointError`, and what `keep` raises.
    """
    queue = iter(requests)
    askers = [
        asyncio.create_task(_ask_on(queue, client, patience, keep, traffic))
        for _ in range(min(max_in_flight, len(requests)))
    ]
    try:
        await asyncio.gather(*askers)
    finally:
        for task in askers:
            task.cancel()
        await asyncio.gather(*askers, return_exceptions=True)


async def _ask_on(
    queue: Iterator[Request], client: Client, patience: Patience, keep: Keep, traffic: Traffic
) -> None:
    for request in queue:  # shared by all askers
        traffic.in_flight += 1
        try:
            completion = await _complete(request, client, patience, traffic)
        finally:
            traffic.in_flight -= 1
        keep(request, completion)
        traffic.answered += 1
        traffic.completion_tokens += completion.completion_tokens


async def _complete(request: Request, client: Client, patience: Patience, traffic: Traffic) -> Completion:
    failing_since: float | None = None
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
        failing_since = (
            failing_since or time.monotonic()
        )  # not since it was sent: the attempt may have been long
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
        if traffic.refused <= _REFUSALS_SHOWN:
            more = "; others are counted as failed" if traffic.refused == _REFUSALS_SHOWN else ""
            logger.warning("%s was refused: %s%s", request.problem.id, answer.refusal, more)
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
