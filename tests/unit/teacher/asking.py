"""Run a test's coroutine within a time, and take the one outcome of a request for one sample."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from metamath_ray.teacher import Outcome


def run(coroutine: Coroutine[Any, Any, Any], within_s: float = 20.0) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, within_s))


def one(outcomes: list[Outcome]) -> Outcome:
    assert len(outcomes) == 1
    return outcomes[0]
