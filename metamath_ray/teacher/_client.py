"""One call to an OpenAI-compatible chat endpoint: what came back, or what the failure means."""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metamath_ray.teacher._faults import Fault, Retry, Stop, classify_error, classify_status
from metamath_ray.teacher._options import ApiKey, ApiKeys, Endpoint, TeacherOptions, resolve_endpoints
from metamath_ray.teacher._requests import Message, canonical_json, encode_body, sampling_of

_MOST_CONNECTIONS = 4096  # of one process
_BYTES_A_TOKEN = 3  # of English and mathematics it is about four


@dataclass(frozen=True, slots=True)
class Choice:
    """One sample of a call."""

    text: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Completion:
    """A call that was answered; may hold fewer choices than asked for."""

    choices: tuple[Choice, ...]
    prompt_tokens: int
    completion_tokens: int


class TeacherClient:
    """The `openai` client with our own retries above it and nothing parsed that we do not use.

    The raw response over the aiohttp transport costs a third of the typed call over httpx. `headers` are those
    of the newest reply, good or bad.
    """

    def __init__(self, options: TeacherOptions, *, endpoint: Endpoint, api_key: ApiKey) -> None:
        import httpx2  # openai's own; a worker needs them, an import of the package not
        from openai import AsyncOpenAI, DefaultAioHttpClient

        self._model = options.model
        self._timeout_s = options.timeout
        self._where = endpoint.base_url
        self._response_type = httpx2.Response
        self._rest: dict[int, bytes] = {}
        self._sampling = sampling_of(options)
        self.headers: Mapping[str, str] = {}
        limits = httpx2.Limits(max_connections=min(endpoint.max_in_flight, _MOST_CONNECTIONS) + 1)
        self._client = AsyncOpenAI(
            base_url=endpoint.base_url,
            api_key=api_key.get_secret_value(),
            max_retries=0,
            timeout=options.timeout,
            http_client=DefaultAioHttpClient(timeout=options.timeout, limits=limits),
        )

    async def complete(self, messages: tuple[Message, ...], *, num_samples: int) -> Completion | Fault:
        """Ask once. Never raises for what an endpoint or the wire does; that is a `Fault`."""
        import openai

        body = encode_body(messages, self._rest_of_body(num_samples))
        try:
            async with asyncio.timeout(self._timeout_s):  # the transport's own counts from byte to byte
                response = await self._client.post(
                    "/chat/completions", cast_to=self._response_type, content=body
                )
            self.headers = response.headers
            answer = json.loads(response.content)
        except openai.APIStatusError as error:
            self.headers = error.response.headers
            return classify_error(error)
        except (openai.APIConnectionError, TimeoutError, json.JSONDecodeError, UnicodeDecodeError) as error:
            return classify_error(error)
        return parse_completion(answer, size_sent=len(body))

    async def check(self) -> Fault | None:
        """Ask for the list of models: None where the endpoint is there and takes the key and the model.

        An endpoint without that list, or with one that leaves models out, is given the benefit of the doubt.
        """
        import openai

        try:
            answer = await self._client.get("/models", cast_to=object)
        except openai.APIStatusError as error:
            fault = classify_status(error.status_code, {}, error.body)
            return fault if isinstance(fault, Stop) and error.status_code in (401, 403) else None
        except openai.APIConnectionError as error:
            return Stop(f"no teacher answers at {self._where}: {error.__cause__ or error}")
        except (openai.APIResponseValidationError, json.JSONDecodeError, UnicodeDecodeError):
            return None
        return _check_model(answer, self._model)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _rest_of_body(self, num_samples: int) -> bytes:
        if num_samples not in self._rest:
            several = {"n": num_samples} if num_samples > 1 else {}
            self._rest[num_samples] = canonical_json({"model": self._model, **self._sampling, **several})
        return self._rest[num_samples]


async def check_endpoints(options: TeacherOptions, api_keys: ApiKeys) -> dict[Endpoint, Stop]:
    """The endpoints that would answer no request, and why; asks each for its list of models."""

    async def check(endpoint: Endpoint) -> Fault | None:
        client = TeacherClient(options, endpoint=endpoint, api_key=api_keys[endpoint.api_key_env])
        try:
            return await client.check()
        finally:
            await client.close()

    endpoints = resolve_endpoints(options)
    faults = await asyncio.gather(*(check(endpoint) for endpoint in endpoints))
    return {
        endpoint: fault for endpoint, fault in zip(endpoints, faults, strict=True) if isinstance(fault, Stop)
    }


def parse_completion(answer: Any, *, size_sent: int = 0) -> Completion | Fault:
    """The choices and the bill in a chat completion's JSON; anything else counts as a transport failure.

    Some gateways send an error's body with status 200: its code is what counts. Where a reply names no usage, its
    tokens are estimated from the bytes sent and received, rather high: rates and budget hold all the same.
    """
    if isinstance(answer, dict) and "choices" not in answer and isinstance(answer.get("error"), dict):
        code = str(answer["error"].get("code"))
        return classify_status(int(code) if re.fullmatch(r"[45]\d\d", code) else 502, {}, answer)
    try:
        choices = tuple(
            Choice(_text_of(choice["message"].get("content")), str(choice.get("finish_reason") or "stop"))
            for choice in sorted(answer["choices"], key=lambda choice: choice.get("index") or 0)
        )
    except (AttributeError, KeyError, TypeError):
        return Retry("malformed_reply")
    size_received = sum(len(choice.text.encode(errors="surrogatepass")) for choice in choices)
    return Completion(
        choices,
        prompt_tokens=_billed(answer, "prompt_tokens", size_sent),
        completion_tokens=_billed(answer, "completion_tokens", size_received),
    )


def _text_of(content: Any) -> str:
    """A message's text, also where it comes in parts; those that are no text are left out."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _billed(answer: dict[str, Any], name: str, size: int) -> int:
    usage = answer.get("usage")
    tokens = usage.get(name) if isinstance(usage, dict) else None
    return int(tokens) if isinstance(tokens, int | float) and tokens >= 0 else -(-size // _BYTES_A_TOKEN)


def _check_model(answer: Any, model: str) -> Fault | None:
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
        return None
    names = [str(entry.get("id")) for entry in answer["data"] if isinstance(entry, dict)]
    served_by_vllm = any(isinstance(e, dict) and e.get("owned_by") == "vllm" for e in answer["data"])
    if served_by_vllm and model not in names:  # vLLM's list is complete, a gateway's may not be
        return Stop(f"the teacher serves no model {model!r}, but: {', '.join(names)}")
    return None
