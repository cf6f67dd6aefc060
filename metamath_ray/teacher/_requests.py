"""Requests to the teacher, the key that each sample has in the ledger, and its reply."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypedDict

from metamath_ray.teacher._options import TeacherOptions


class Message(TypedDict):
    """One chat message as the OpenAI protocol has it."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Samples `first_sample … first_sample + num_samples - 1` of one prompt."""

    messages: tuple[Message, ...]
    first_sample: int = 0
    num_samples: int = 1

    @property
    def samples(self) -> range:
        """The sample indices asked for."""
        return range(self.first_sample, self.first_sample + self.num_samples)


@dataclass(frozen=True, slots=True)
class Reply:
    """One sample that the teacher gave, as the ledger holds it.

    Token counts add up over the samples of one call to what the endpoint billed: the first sample of
    a call carries the prompt tokens, and completion tokens are shared out by length of text.
    """

    key: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str
    sample_index: int


Reason = Literal["rejected", "empty", "unanswered", "stopped", "not_recorded"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A sample that the teacher will not give; never stored, so a later run may ask again.

    `reason` is `rejected` (a 400: too long, filtered), `empty` (no content, three times), `unanswered`
    (nothing but faults for long, while others were answered), `stopped` (the run was stopped first) or
    `not_recorded` (no endpoint given, not in the ledger).
    """

    key: str
    reason: Reason
    detail: str = ""


Outcome = Reply | Failure


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", errors="surrogatepass")


def sampling_of(options: TeacherOptions) -> dict[str, float | int]:
    """The sampling parameters as they are sent and as they enter the key."""
    return {
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
    }


class Prefix(NamedTuple):
    """The turns before a request's last message: `state` has hashed them for a key, `name` is for the reader.

    `sent` is how they open a request's body.
    """

    state: "hashlib._Hash"
    name: str
    sent: bytes


def prefix_of(messages: tuple[Message, ...]) -> Prefix:
    """The hashes of all messages but the last, computed once for each few-shot prompt."""
    return _prefix(tuple((message["role"], message["content"]) for message in messages[:-1]))


@lru_cache(maxsize=64)  # ten prompts, and as many again for a user's own
def _prefix(turns: tuple[tuple[str, str], ...]) -> Prefix:
    messages = canonical_json([{"role": role, "content": content} for role, content in turns])
    opened = b'{"messages":' + messages[:-1] + (b"," if turns else b"")
    sent = "".join(json.dumps({"role": role, "content": content}) + "," for role, content in turns)
    return Prefix(
        hashlib.sha256(opened), hashlib.sha256(messages).hexdigest()[:16], b'{"messages":[' + sent.encode()
    )


def encode_body(messages: tuple[Message, ...], rest: bytes) -> bytes:
    """The JSON that asks for `messages`, ASCII only; `rest` is all else that it holds, as a JSON object."""
    return prefix_of(messages).sent + json.dumps(messages[-1]).encode() + b"]," + rest[1:]


def request_keys(request: ChatRequest, options: TeacherOptions) -> list[str]:
    """SHA-256 of model, messages, sampling parameters and sample index, one for each sample asked for.

    Neither the URL nor the API key enters, so a reply is found again wherever it was bought. What is hashed is
    the canonical JSON of `{"messages", "model", "sampling"}`, whose few-shot turns are taken from `prefix_of`.
    """
    *_, last = request.messages
    rest = canonical_json({"model": options.model, "sampling": sampling_of(options)})
    prefix = prefix_of(request.messages).state.copy()
    prefix.update(canonical_json(last) + b"]," + rest[1:] + b"\n")
    keys = []
    for sample in request.samples:
        digest = prefix.copy()
        digest.update(str(sample).encode())
        keys.append(digest.hexdigest())
    return keys
