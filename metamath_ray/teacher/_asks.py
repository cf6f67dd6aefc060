"""One prompt on its way to the teacher: what is missing, what came, what will not come."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from metamath_ray.teacher._client import Completion
from metamath_ray.teacher._requests import ChatRequest, Failure, Message, Outcome, Reason, Reply, prefix_of

EMPTY_ASKED = 3


@dataclass
class Ask:
    """Which samples of a request are still missing, and what it has met since the newest came."""

    request: ChatRequest
    missing: dict[int, str]  # sample index → ledger key
    faults: int = 0
    first_fault_at: float = 0.0
    empties: int = 0
    one_by_one: bool = False  # the endpoint refused this prompt with n > 1

    def settle(self, sample: int) -> None:
        """A sample is here: what the ask has met until now counts no more against the others."""
        del self.missing[sample]
        self.faults, self.first_fault_at, self.empties = 0, 0.0, 0


def give_up(ask: Ask, reason: Reason, detail: str) -> dict[int, Outcome]:
    """Settle all that is missing as failed."""
    failures: dict[int, Outcome] = {
        sample: Failure(key, reason, detail) for sample, key in ask.missing.items()
    }
    ask.missing.clear()
    return failures


def share_out(ask: Ask, answer: Completion, model: str) -> Iterator[Reply]:
    """Give the choices that hold text to the missing samples, and split the bill among them."""
    choices = [choice for choice in answer.choices if choice.text.strip() or choice.finish_reason == "length"]
    taken = list(zip(sorted(ask.missing.items()), choices, strict=False))
    total_chars = sum(len(choice.text) for _, choice in taken)
    chars = billed = 0
    for number, ((sample, key), choice) in enumerate(taken):
        chars += len(choice.text)
        upto = answer.completion_tokens * chars // total_chars if total_chars else answer.completion_tokens
        yield Reply(
            key=key,
            text=choice.text,
            finish_reason=choice.finish_reason,
            prompt_tokens=answer.prompt_tokens if number == 0 else 0,
            completion_tokens=upto - billed,
            model=model,
            sample_index=sample,
        )
        billed = upto


def record_context(messages: tuple[Message, ...]) -> dict[str, Any]:
    """What a person needs to read a record: the last message, what stood before it, and when."""
    return {
        "user": messages[-1]["content"],
        "prompt": prefix_of(messages).name,
        "time": int(time.time()),
    }
