"""An OpenAI-compatible server, asked through the `openai` client; every failure is one line."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import SecretStr

from metamath_ray.analysis._options import EndpointOptions

T = TypeVar("T")
R = TypeVar("R")

_BROKEN_ANSWERS = 3


class EndpointFailedError(RuntimeError):
    """The endpoint refused, or gave nothing usable however often it was asked; the text is one line."""


@dataclass(frozen=True, slots=True)
class EndpointSetup:
    """Where and how to ask; travels to workers. The key prints as asterisks."""

    base_url: str
    options: EndpointOptions
    api_key: SecretStr


class Endpoint:
    """The connections to one server."""

    def __init__(self, setup: EndpointSetup) -> None:
        from openai import OpenAI  # a worker needs it, an import of the package not

        self._setup = setup
        self._client = OpenAI(
            base_url=setup.base_url,
            api_key=setup.api_key.get_secret_value(),
            max_retries=setup.options.max_retries,
            timeout=setup.options.timeout_s,
        )

    def ask(self, path: str, body: dict[str, Any], parse: Callable[[Any], R]) -> R:
        """`parse` of the answer to a POST; what it can't read (`ValueError`) is asked again twice.

        The client repeats what is worth repeating, with growing pauses or after what the server named. Raises
        `EndpointFailedError`.
        """
        import openai

        where = self._setup.base_url
        for attempt in range(_BROKEN_ANSWERS):
            try:
                return parse(self._client.post(path, cast_to=object, body=body))
            except openai.APIStatusError as error:
                raise EndpointFailedError(f"{where}{path} {_refusal(error)}") from None
            except openai.APITimeoutError:
                raise EndpointFailedError(
                    f"{where}{path} gave no answer within {self._setup.options.timeout_s:g} s"
                ) from None
            except openai.APIConnectionError as error:
                reason = " ".join(str(error.__cause__ or error).split())[:200]
                raise EndpointFailedError(f"no endpoint answers at {where}: {reason}") from None
            except (openai.APIResponseValidationError, json.JSONDecodeError, ValueError) as error:
                if attempt + 1 == _BROKEN_ANSWERS:
                    reason = " ".join(str(error).split())[:200]
                    raise EndpointFailedError(f"{where}{path} gives no usable answer: {reason}") from None
        raise AssertionError("the last attempt returns or raises")

    def ask_all(self, asks: Sequence[T], ask: Callable[[T], R]) -> Iterator[R]:
        """`ask` of each, `max_in_flight` at a time, in the order given; the first failure ends it."""
        with ThreadPoolExecutor(self._setup.options.max_in_flight) as threads:
            futures = [threads.submit(ask, one) for one in asks]
            try:
                for future in futures:
                    yield future.result()
            finally:
                threads.shutdown(wait=True, cancel_futures=True)


def _refusal(error: Any) -> str:
    """Status and message of an answer other than 2xx; the body may be a page of HTML."""
    body = error.body
    inner = body.get("error", body) if isinstance(body, dict) else body
    message = inner.get("message", inner) if isinstance(inner, dict) else inner
    return f"answers {error.status_code}: {' '.join(str(message).split())[:200]}"
