"""A replica of the Serve application: one engine of the model, asked through the handle or over HTTP."""

import asyncio
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metamath_ray.evaluation._engine_log import EngineLog
from metamath_ray.evaluation._journal import FAILED
from metamath_ray.evaluation._keys import Sampling
from metamath_ray.evaluation._reaper import MARKER
from metamath_ray.evaluation._setup import EngineSetup, allowed_cores, engine_variables

NAMESPACE = "metamath_ray"
"""Ray's namespace of the owners."""


class EngineStartError(RuntimeError):
    """No engine came up; the text is the engine's own reason, on one line."""


class EngineFaultError(RuntimeError):
    """The engine failed one attempt and lives on."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion as an engine or a server gave it.

    `finish_reason` is `stop`, `length`, or `failed` where it was refused for good: then `refusal` says why.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    refusal: str = ""


class Owner:
    """An actor that lives exactly as long as the driver of an application does."""


class Replica:
    """One engine; made in a process of its own by Serve. Raises `EngineStartError`.

    `owner` is the name of the `Owner`: Serve's applications outlive their drivers, this one goes with its own. Empty
    for an application that has no driver.
    """

    def __init__(self, setup: EngineSetup, owner: str) -> None:
        self._owner, self._is_warm = owner, False
        log = EngineLog()
        os.environ.update(engine_variables(setup, allowed_cores()))
        start_reaper()
        try:
            from metamath_ray.evaluation import _vllm  # after the environment, which it reads

            self._vllm = _vllm
            self._engine = _vllm.start_engine(setup)
        except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise EngineStartError(log.root_cause() or one_line(error)) from error

    async def generate(self, prompt: str, sampling: Sampling) -> Answer:
        """Complete a prompt. Each call is a request of its own to the engine; `EngineFaultError`: ask again."""
        params = self._vllm.sampling_params(sampling)
        try:
            outputs = [one async for one in self._engine.generate(prompt, params, uuid.uuid4().hex)]
        except self._vllm.FAULTS as error:
            raise EngineFaultError(f"the engine failed: {one_line(error.__cause__ or error)}") from None
        except self._vllm.REFUSALS as error:
            return Answer("", FAILED, 0, 0, one_line(error))
        choice = outputs[-1].outputs[0] if outputs else None
        if choice is None or choice.finish_reason not in ("stop", "length"):
            raise EngineFaultError("the engine gave the request up")
        num_prompt_tokens = len(outputs[-1].prompt_token_ids or ())
        return Answer(choice.text, choice.finish_reason, num_prompt_tokens, len(choice.token_ids))

    async def describe(self) -> dict[str, Any]:
        """What the engine is, for the summary."""
        return self._vllm.describe_engine(self._engine)

    async def check_health(self) -> None:
        """Serve asks every few seconds; a dead engine takes its process with it, a dead driver the application.

        Serve asks once before the replica counts as ready: then a first token must come out.
        """
        if not self._is_warm:
            first = await self.generate("1", Sampling(0.0, 1.0, 1, ()))
            if first.finish_reason == FAILED:
                raise EngineStartError(f"the engine refuses a prompt of one token: {first.refusal}")
            self._is_warm = True
        await self._engine.end_if_dead()
        if self._owner:
            await asyncio.to_thread(delete_if_abandoned, self._owner)

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._engine.shutdown()


class HttpReplica(Replica):
    """A replica that speaks OpenAI's protocol too, through vLLM's own server application."""

    def __init__(self, setup: EngineSetup, owner: str, served_name: str, key_sha256: str) -> None:
        super().__init__(setup, owner)
        self._setup, self._served_name, self._key_sha256 = setup, served_name, key_sha256

    async def __serve_build_asgi_app__(self) -> Any:
        """The application that Serve sends HTTP requests to."""
        from metamath_ray.evaluation import _openai_app

        return await _openai_app.build(
            self._engine, self._setup, served_name=self._served_name, key_sha256=self._key_sha256
        )


def delete_if_abandoned(owner: str) -> None:
    """Delete the application of the replica that calls this where the owner's driver has died."""
    import ray
    from ray import serve

    try:
        ray.get_actor(owner, namespace=NAMESPACE)
    except ValueError:  # no such actor any more
        serve.delete(serve.get_replica_context().app_name, _blocking=False)


def start_reaper() -> None:
    """From now on every child of this process is ended when this process dies, whatever it dies of."""
    value = uuid.uuid4().hex
    script = Path(__file__).with_name("_reaper.py")
    environment = {name: text for name, text in os.environ.items() if name != MARKER}
    reaper = subprocess.Popen(  # noqa: S603  # our own script
        [sys.executable, "-I", "-S", str(script), value],
        stdin=subprocess.PIPE,  # held open, never written to: its end is the signal
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,
    )
    reaper.wait()  # it has put itself behind
    _reapers.append(reaper)
    os.environ[MARKER] = value


_reapers: list[subprocess.Popen[bytes]] = []
"""Held so that no garbage collection closes a reaper's pipe."""


def one_line(error: BaseException) -> str:
    """What an error says, on one line; of one that a replica raised its own words, not Ray's stack around them."""
    error = getattr(error, "cause", None) or error
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:600]
