"""What tests of the teacher share: a coroutine run within a time, one outcome, replies, segments."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from metamath_ray.teacher import Outcome, Reply
from metamath_ray.teacher._segments import SegmentWriter, encode_record


def run(coroutine: Coroutine[Any, Any, Any], within_s: float = 60.0) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, within_s))


def one(outcomes: list[Outcome]) -> Outcome:
    assert len(outcomes) == 1
    return outcomes[0]


def make_reply(number: int = 0, text: str = "It is 2.\nThe answer is: 2") -> Reply:
    return Reply(f"{number:064x}", text, "stop", 10, 5, "m", number)


def write_replies(folder: Path, replies: list[Reply], **context: object) -> Path:
    writer = SegmentWriter(folder)
    writer.append([encode_record(reply, context) for reply in replies])
    writer.close()
    return writer.path
