"""Who is asked for a completion: an application's engines through Serve's handle, or a server over HTTP."""

import asyncio
import json
import os
from typing import Any, Protocol

from metamath_ray.evaluation._application import failure_of
from metamath_ray.evaluation._journal import FAILED
from metamath_ray.evaluation._keys import Request, Sampling
from metamath_ray.evaluation._options import EndpointOptions
from metamath_ray.evaluation._replica import Answer, EngineFaultError, one_line

_MAX_STOP = 4
"""So many stop strings does OpenAI's protocol take; vLLM's server has come to refuse more, too."""
_WATCH_S = 10.0


class AttemptFailedError(RuntimeError):
    """This attempt brought nothing, another may; `retry_after_s` where the server named a time."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class EngineLostError(RuntimeError):
    """No completion comes any more; what came is saved, and the same command goes on from there."""


class BadEndpointError(ValueError):
    """The server can't be used as asked: address, key or model is wrong."""


class Client(Protocol):
    """Asks for completions; may be asked for many at a time."""

    async def check(self) -> str:
        """The name of the model that will be asked; comes before the first `ask`. Raises `BadEndpointError`."""

    async def ask(self, request: Request) -> Answer:
        """One attempt. Raises `AttemptFailedError`, and `EngineLostError` or `BadEndpointError` for good."""

    async def close(self) -> None:
        """Let go of what is open."""


class HandleClient:
    """Asks an application's engines; Serve picks the one with the fewest requests.

    Serve lets requests wait for ever where no replica comes up any more: the application is watched beside them.
    """

    def __init__(self, name: str, handle: Any) -> None:
        self._name, self._handle = name, handle

    async def check(self) -> str:
        """The application is known to run; it is watched from now on."""
        self._lost = asyncio.create_task(_wait_until_lost(self._name))
        return self._name

    async def ask(self, request: Request) -> Answer:
        """One attempt; a new request to the engine each time."""
        attempt = asyncio.create_task(self._attempt(request))
        try:
            await asyncio.wait({attempt, self._lost}, return_when=asyncio.FIRST_COMPLETED)
            if not attempt.done():
                raise EngineLostError(self._lost.result())
            return attempt.result()
        finally:
            attempt.cancel()

    async def close(self) -> None:
        """End the watch."""
        self._lost.cancel()

    async def _attempt(self, request: Request) -> Answer:
        from ray.exceptions import RayError, RayTaskError
        from ray.serve.exceptions import DeploymentUnavailableError, RayServeException

        response = self._handle.generate.remote(request.prompt, request.sampling)
        try:
            answer: Answer = await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        except DeploymentUnavailableError as error:
            if (reason := failure_of(self._name)) is not None:
                raise EngineLostError(reason) from None
            raise AttemptFailedError(one_line(error)) from None
        except (EngineFaultError, RayServeException) as error:
            raise AttemptFailedError(one_line(error)) from None
        except RayError as error:  # a dead replica; but a bug in our own code is no such thing
            if isinstance(error, RayTaskError):
                raise
            raise AttemptFailedError(one_line(error)) from None
        return answer


async def _wait_until_lost(name: str) -> str:
    """Why the application can no more answer, once that is so."""
    while (reason := await asyncio.to_thread(failure_of, name)) is None:
        await asyncio.sleep(_WATCH_S)
    return reason


class EndpointClient:
    """Asks an OpenAI-compatible server, with our own retries above it."""

    def __init__(self, base_url: str, model: str, options: EndpointOptions, *, timeout_s: float) -> None:
        from openai import AsyncOpenAI, DefaultAioHttpClient

        self._base_url, self._model, self._api = base_url, model, options.api
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=os.environ.get(options.api_key_env) or "none",
            max_retries=0,
            timeout=timeout_s,
            http_client=DefaultAioHttpClient(timeout=timeout_s),
        )

    async def check(self) -> str:
        """The model that will be asked: the one named, or the only one that is served.

        Raises `BadEndpointError` where nothing answers, or the key or the model is refused.
        """
        import openai

        try:
            answer = await self._client.get("/models", cast_to=object)
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                raise BadEndpointError(
                    f"{self._base_url} refuses the key ({error.status_code}): {_message(error.body)}"
                ) from None
            answer = None  # an endpoint without that list
        except openai.APIConnectionError as error:
            raise BadEndpointError(
                f"no server answers at {self._base_url}: {error.__cause__ or error}"
            ) from None
        except (openai.APIResponseValidationError, json.JSONDecodeError, UnicodeDecodeError):
            answer = None
        return self._choose_model(answer)

    async def ask(self, request: Request) -> Answer:
        """One attempt."""
        import openai

        path, body = self._body(request)
        try:
            answer = await self._client.post(path, cast_to=object, body=body)
        except openai.APITimeoutError:
            raise AttemptFailedError("no answer in time") from None
        except openai.APIStatusError as error:
            return self._refused(error.status_code, error.response.headers, error.body)
        except openai.APIConnectionError as error:
            raise AttemptFailedError(f"connection: {error.__cause__ or error}") from None
        except (openai.APIResponseValidationError, json.JSONDecodeError, UnicodeDecodeError):
            raise AttemptFailedError("the answer is no JSON") from None
        return parse_answer(answer, request.sampling)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _body(self, request: Request) -> tuple[str, dict[str, Any]]:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self._model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
        }
        if stop := essential_stop(sampling.stop):
            in_prompt_first = sorted(stop, key=lambda each: each not in request.prompt)
            body["stop"] = in_prompt_first[:_MAX_STOP]  # a completion that runs on repeats the prompt's form
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if self._api == "chat":
            return "/chat/completions", body | {"messages": [{"role": "user", "content": request.prompt}]}
        return "/completions", body | {"prompt": request.prompt}

    def _choose_model(self, answer: Any) -> str:
        entries = answer.get("data") if isinstance(answer, dict) else None
        models = [entry for entry in entries or () if isinstance(entry, dict) and "id" in entry]
        names = [str(entry["id"]) for entry in models]
        is_vllm = any(entry.get("owned_by") == "vllm" for entry in models)
        if not self._model and len(names) != 1:
            raise BadEndpointError(
                f"{self._base_url} serves {', '.join(names) or 'no list'}; name one as model"
            )
        if (
            self._model and is_vllm and self._model not in names
        ):  # vLLM's list is whole, a gateway's may not be
            raise BadEndpointError(
                f"{self._base_url} serves no model {self._model!r}, but {', '.join(names)}"
            )
        self._model = self._model or names[0]
        return self._model

    def _refused(self, status: int, headers: Any, body: Any) -> Answer:
        message = _message(body)
        if status in (401, 402, 403, 404, 405):
            raise BadEndpointError(f"{self._base_url} refuses all requests ({status}): {message}")
        if status in (408, 409, 425, 429) or status >= 500:
            raise AttemptFailedError(f"{status}: {message}", _retry_after_s(headers))
        return Answer("", FAILED, 0, 0, f"{status}: {message}")


def parse_answer(answer: Any, sampling: Sampling) -> Answer:
    """The completion in an answer's JSON, cut at the stop strings. Raises `AttemptFailedError` for anything else."""
    try:
        choice = answer["choices"][0]
        text = choice["message"].get("content") if "message" in choice else choice["text"]
        usage = answer.get("usage") or {}
        tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        reason = str(choice.get("finish_reason") or "stop")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise AttemptFailedError("the answer is no completion") from None
    whole = str(text or "")
    cut = cut_at_stop(whole, sampling.stop)
    return Answer(cut, "length" if reason == "length" and cut == whole else "stop", *tokens)


def cut_at_stop(text: str, stop: tuple[str, ...]) -> str:
    """The text before the first stop string in it: what a server that takes fewer of them lets through."""
    return text[: min((place for each in stop if (place := text.find(each)) >= 0), default=len(text))]


def essential_stop(stop: tuple[str, ...]) -> tuple[str, ...]:
    """The stop strings that no other one is the beginning of: the same texts come out."""
    return tuple(each for each in stop if not any(each != other and each.startswith(other) for other in stop))


def _retry_after_s(headers: Any) -> float:
    try:
        return min(max(float(headers.get("retry-after", 0)), 0.0), 300.0)
    except ValueError:  # a date: our own pause will do
        return 0.0


def _message(body: Any) -> str:
    error = body.get("error", body) if isinstance(body, dict) else body
    message = (error.get("message") or error) if isinstance(error, dict) else error
    return " ".join(str(message).split())[:300]
