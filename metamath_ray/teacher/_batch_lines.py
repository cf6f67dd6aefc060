"""The lines of a batch's files: requests on the way there, replies and errors on the way back."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from metamath_ray.teacher._client import Completion, parse_completion
from metamath_ray.teacher._faults import Fault, Retry, classify_status
from metamath_ray.teacher._options import TeacherOptions
from metamath_ray.teacher._requests import (
    ChatRequest,
    canonical_json,
    encode_body,
    prefix_of,
    request_keys,
    sampling_of,
)

_URL = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request of a batch: consecutive samples of one prompt, named by the ledger key of the first.

    `keys` are those of all its samples. The name, `custom_id` in the protocol, has 64 characters: providers take
    no more.
    """

    request: ChatRequest
    keys: tuple[str, ...]
    data: bytes

    @property
    def custom_id(self) -> str:
        """What the results name it by."""
        return self.keys[0]

    @property
    def prompt(self) -> str:
        """The name of the few-shot prompt, whose replies are of one kind of length."""
        return prefix_of(self.request.messages).name


def encode_line(request: ChatRequest, options: TeacherOptions) -> RequestLine:
    """The line that asks for all samples of `request`."""
    keys = tuple(request_keys(request, options))
    several = {"n": request.num_samples} if request.num_samples > 1 else {}
    body = encode_body(
        request.messages, canonical_json({"model": options.model, **sampling_of(options), **several})
    )
    head = f'{{"custom_id":"{keys[0]}","method":"POST","url":"{_URL}","body":'
    return RequestLine(request, keys, head.encode() + body + b"}\n")


def decode_line(data: bytes, first_sample: int, options: TeacherOptions) -> RequestLine:
    """The request that `encode_line` wrote, whose first sample the line itself does not tell."""
    fields = json.loads(data)
    body = fields["body"]
    request = ChatRequest(tuple(body["messages"]), first_sample, body.get("n", 1))
    keys = tuple(request_keys(request, options))
    assert keys[0] == fields["custom_id"], "a run directory is refused when its teacher's sampling changes"
    return RequestLine(request, keys, data)


def split_samples(request: ChatRequest, samples: Iterable[int], *, most: int) -> Iterator[ChatRequest]:
    """Requests for these samples alone, in runs of consecutive ones of at most `most`."""
    run: list[int] = []
    for sample in sorted(samples):
        if run and (sample != run[-1] + 1 or len(run) == most):
            yield ChatRequest(request.messages, run[0], len(run))
            run = []
        run.append(sample)
    if run:
        yield ChatRequest(request.messages, run[0], len(run))


@dataclass(frozen=True, slots=True)
class ResultLine:
    """What a batch's output or error file says of one request."""

    custom_id: str
    response: dict[str, Any] | None
    error: Any

    def classify(self, size_sent: int) -> Completion | Fault:
        """What the answer means, as though a call of its own had brought it."""
        if self.response is None:
            code = self.error.get("code") if isinstance(self.error, dict) else None
            return Retry(str(code or "no_response"))  # such as batch_expired
        status, body = self.response.get("status_code"), self.response.get("body")
        if status == 200:
            return parse_completion(body, size_sent=size_sent)
        return classify_status(status if isinstance(status, int) else 500, {}, body)


def decode_result(data: bytes) -> ResultLine | None:
    """A line of an output or error file; None where it names no request."""
    try:
        fields = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("custom_id"), str):
        return None
    response = fields.get("response")
    return ResultLine(
        fields["custom_id"], response if isinstance(response, dict) else None, fields.get("error")
    )
