"""vLLM's engine as a replica runs it. Imports vLLM: for replicas only, never at import of the package."""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import vllm
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMValidationError
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from metamath_ray.evaluation._keys import Sampling
from metamath_ray.evaluation._setup import EngineSetup, engine_arguments
from metamath_ray.evaluation._stall import StallWatch

_STALLED_S = 600.0

REFUSALS = (VLLMValidationError, ValueError)
"""What vLLM raises for a request that it will never answer, such as a prompt that is too long."""

FAULTS = (EngineGenerateError,)
"""What it raises for an attempt that failed while the engine lives on."""


class Engine(AsyncLLM):  # type: ignore[misc]  # vLLM's types are not looked at
    """An engine that ends its process when its core is dead or stuck, and sends all requests through its one adapter.

    Rows with and without an adapter in one batch come out wrong on CPU, so there is no mixing.
    """

    adapter: LoRARequest | None = None
    stall: StallWatch

    async def generate(self, *args: Any, **options: Any) -> AsyncGenerator[RequestOutput, None]:
        """As vLLM's, for any `lora_request`; does not come back where the engine's core is dead."""
        options["lora_request"] = self.adapter
        try:
            async with aclosing(super().generate(*args, **options)) as outputs:
                async for output in outputs:
                    yield output
        except EngineDeadError:
            end_process()

    async def end_if_dead(self) -> None:
        """End the process where the core is dead, or has given no token for ten minutes; Serve starts another."""
        try:
            await self.check_health()
        except EngineDeadError:
            end_process()
        if self.stall.has_stalled(self.get_num_unfinished_requests()):
            end_process()

    def watch_steps(self) -> None:
        """Note every step from now on."""
        self.stall = watch = StallWatch(_STALLED_S)
        process = self.output_processor.process_outputs

        def process_and_note(*args: Any, **options: Any) -> Any:
            watch.step()
            return process(*args, **options)

        self.output_processor.process_outputs = process_and_note


def end_process() -> None:
    """Die as a killed replica does: a dead engine would fail every request until three health checks have failed."""
    os._exit(1)


def start_engine(setup: EngineSetup) -> Engine:
    """Load the model; returns when the engine is ready. Raises whatever vLLM raises."""
    if setup.device != ("cpu" if current_platform.is_cpu() else "gpu"):
        raise ValueError(
            f"engine.device is {setup.device}, but the vLLM installed here is for {current_platform.device_type}"
        )
    arguments = AsyncEngineArgs(**engine_arguments(setup))
    engine = Engine.from_engine_args(arguments, usage_context=UsageContext.LLM_CLASS)
    assert isinstance(engine, Engine)
    engine.watch_steps()
    if setup.adapter:
        engine.adapter = LoRARequest("adapter", 1, setup.adapter)
    return engine


def sampling_params(sampling: Sampling) -> SamplingParams:
    """vLLM's form of a sampling; only the whole completion comes back."""
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_new_tokens,
        stop=list(sampling.stop),
        seed=sampling.seed,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def describe_engine(engine: Engine) -> dict[str, Any]:
    """Version, device and resolved settings of a running engine, for the summary."""
    config = engine.vllm_config
    return {
        "name": "vllm",
        "version": vllm.__version__,
        "device": current_platform.get_device_name(),
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
        "max_model_len": config.model_config.max_model_len,
        "max_num_seqs": config.scheduler_config.max_num_seqs,
        "prefix_caching": bool(config.cache_config.enable_prefix_caching),
        "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
    }
