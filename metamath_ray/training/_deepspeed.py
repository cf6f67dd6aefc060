"""DeepSpeed's engine, set up from our options."""

import logging
import math
from typing import Any

import torch
from torch import nn

from metamath_ray.training._device import Device
from metamath_ray.training._model import load_config
from metamath_ray.training._optimizer import choose_optimizer
from metamath_ray.training._options import TrainOptions

_NVME_BUFFER = 100_000_000
"""Weights that a buffer holds by DeepSpeed's default."""


def deepspeed_config(options: TrainOptions, device: Device) -> dict[str, Any]:
    """DeepSpeed's configuration; it makes the optimizer too, PyTorch's as well."""
    return {
        "train_micro_batch_size_per_gpu": options.micro_batch_size,
        "gradient_accumulation_steps": options.accumulation_steps,
        "gradient_clipping": options.max_grad_norm,
        "bf16": {"enabled": options.precision == "bf16"},
        "optimizer": {"type": "AdamW", "params": _adam(options, device)},
        "zero_optimization": _zero(options, device),
        # without ZeRO DeepSpeed accumulates in the weights' own type, and refuses another
        "data_types": {"grad_accum_dtype": "fp32" if options.zero_stage else options.precision},
        "steps_per_print": 2**31 - 1,  # we write our own log
    }


def open_engine(model: nn.Module, options: TrainOptions, device: Device) -> Any:
    """The engine around `model`. torch.distributed must be initialised."""
    import deepspeed
    from deepspeed.utils import logger

    logger.setLevel(logging.WARNING)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=parameters, config=deepspeed_config(options, device)
    )
    if options.precision == "bf16" and options.zero_stage == 0:
        # DeepSpeed has made this optimizer's state by a step without gradients, which Adam would count
        engine.optimizer.optimizer.state.clear()
    if options.device.compile:
        engine.compile()
    return engine


def backward_and_step(engine: Any, loss: torch.Tensor) -> float | None:
    """Accumulate the gradients of `loss`; on the last micro-batch of a step update the weights.

    Gives the norm of the step's gradients before clipping, None for the other micro-batches. DeepSpeed averages
    over workers; its division by accumulation steps is left out.
    """
    engine.backward(loss, scale_wrt_gas=False)
    if not engine.is_gradient_accumulation_boundary():
        engine.step()
        return None
    unwrapped = engine.zero_optimization_stage() == 0 and not engine.bfloat16_enabled()
    norm = _total_norm(engine.module) if unwrapped else None  # DeepSpeed keeps no norm there
    engine.step()
    return float(engine.get_global_grad_norm()) if norm is None else norm


def _total_norm(model: nn.Module) -> float:
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return float(torch.nn.utils.get_total_norm(grads))


def set_learning_rate(engine: Any, rate: float) -> None:
    """Every parameter group learns at `rate` in the next step."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate


def _adam(options: TrainOptions, device: Device) -> dict[str, Any]:
    adam: dict[str, Any] = {
        "lr": 0.0,  # set before each step
        "betas": [options.adam_beta1, options.adam_beta2],
        "eps": options.adam_epsilon,
        "weight_decay": options.weight_decay,
    }
    if choose_optimizer(options, device=device.kind) == "deepspeed":
        return adam  # FusedAdam, or CPUAdam for offload
    return adam | {"torch_adam": True} | ({"fused": True} if device.kind == "gpu" else {})


def _zero(options: TrainOptions, device: Device) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": options.zero_stage, "overlap_comm": device.kind == "gpu"}
    if options.device.offload_optimizer != "none":
        zero["offload_optimizer"] = _offload(options.device.offload_optimizer, options)
    if options.zero_stage == 3 and options.device.offload_parameters != "none":
        zero["offload_param"] = _offload(options.device.offload_parameters, options)
        if options.device.offload_parameters == "nvme":
            zero["offload_param"]["buffer_size"] = max(_NVME_BUFFER, _largest_part(options))
    return zero


def _largest_part(options: TrainOptions) -> int:
    """One worker's share of the largest matrix, the embedding; DeepSpeed asserts that a buffer holds it."""
    config = load_config(options.model)
    num_weights: int = config.vocab_size * config.hidden_size
    return math.ceil(num_weights / options.num_workers)


def _offload(where: str, options: TrainOptions) -> dict[str, Any]:
    place: dict[str, Any] = {"device": where, "pin_memory": True}
    return place | ({"nvme_path": str(options.device.nvme_path)} if where == "nvme" else {})
