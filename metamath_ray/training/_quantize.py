"""QLoRA: a base in 4 bits (nf4, quantised constants), frozen, under a LoRA adapter on every linear layer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metamath_ray.training._options import DeviceKind, TrainOptions

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

_LORA_A, _LORA_B = ".lora_A.default.weight", ".lora_B.default.weight"
_PEFT_PREFIX = "base_model.model."


def load_quantized(options: TrainOptions, *, device: DeviceKind, kwargs: dict[str, Any]) -> "PreTrainedModel":
    """The base with every linear layer but the output layer in nf4 with double quantisation, frozen.

    `kwargs` are those of `from_pretrained`. Weights are quantised as they load, on this process's device, so a
    process never holds the whole model in 16 bits.
    """
    import torch
    from transformers import BitsAndBytesConfig

    from metamath_ray.training._model import load_weights

    dtype = kwargs["dtype"]
    config = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_storage=dtype,  # ZeRO 3 flattens parameters of one type, and wants floating point
    )
    place: str | int = "cpu" if device == "cpu" else torch.cuda.current_device()
    model = load_weights(options.model, {**kwargs, "quantization_config": config, "device_map": {"": place}})
    keep_packing(model)
    return model.requires_grad_(False)


def keep_packing(model: "torch.nn.Module") -> None:
    """Forbid bitsandbytes to repack 4-bit weights in place for its AVX512-BF16 inference kernel.

    It does so at the first forward pass in evaluation mode, on CPUs that have the instructions; the repacked
    weights then give wrong gradients in all later training.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def add_adapter(model: "PreTrainedModel", options: TrainOptions) -> "PeftModel":
    """The base under a fresh LoRA adapter on all attention and MLP matrices, of the base's data type.

    Its random start depends on `options.seed` alone, so that every worker makes the same one.
    """
    import torch
    from peft import get_peft_model

    config = lora_config(options, _linear_names(model))
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(options.seed)
        adapted: Any = get_peft_model(model, config, autocast_adapter_dtype=False)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(model.dtype)
    return adapted  # type: ignore[no-any-return]


def lora_config(
    options: TrainOptions, targets: Sequence[str], *, for_inference: bool = False
) -> "LoraConfig":
    """PEFT's configuration of the adapter; `targets` are the last parts of the names of the layers it changes."""
    from peft import LoraConfig, TaskType

    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        base_model_name_or_path=options.model,
        r=options.lora.rank,
        lora_alpha=options.lora.alpha,  # type: ignore[arg-type]  # a float does: it is divided by the rank
        lora_dropout=options.lora.dropout,
        target_modules=sorted(targets),
        bias="none",
        inference_mode=for_inference,
    )


def save_adapter(adapter: Mapping[str, "torch.Tensor"], options: TrainOptions, folder: str) -> None:
    """Write configuration and weights as PEFT and vLLM load them.

    `adapter` holds the trained tensors by their names in the `PeftModel`. The configuration names the base as
    `options.model` does.
    """
    from pathlib import Path

    from safetensors.torch import save_file

    targets = {name.rsplit(".", 1)[-1] for name in _pairs(adapter)}
    lora_config(options, sorted(targets), for_inference=True).save_pretrained(folder)
    tensors = {name.replace(".default.weight", ".weight"): tensor for name, tensor in adapter.items()}
    save_file(tensors, Path(folder) / "adapter_model.safetensors", metadata={"format": "pt"})


def merge_adapter(
    adapter: Mapping[str, "torch.Tensor"], options: TrainOptions, *, device: DeviceKind
) -> dict[str, "torch.Tensor"]:
    """The whole model's weights, on the CPU: the de-quantised base plus the adapter, added up in fp32.

    The base is quantised once more, matrix by matrix, on the kind of device that trained it, so the adapter
    meets the very weights that it was trained on. `adapter` is as `save_adapter` takes it. For bf16 the sums are
    rounded at random, seeded by `options.seed`: see `_round_to_bf16`.
    """
    import torch

    from metamath_ray.training._model import load_weights, torch_dtype

    base = load_weights(
        options.model,
        {"dtype": torch_dtype(options.precision), "use_safetensors": True, "trust_remote_code": False},
    )
    weights = {name: parameter.detach() for name, parameter in base.named_parameters()}
    scale = options.lora.alpha / options.lora.rank
    place = torch.device("cpu" if device == "cpu" else f"cuda:{torch.cuda.current_device()}")
    random = torch.Generator(place).manual_seed(options.seed)
    for layer, (a, b) in _pairs(adapter).items():
        name = f"{layer.removeprefix(_PEFT_PREFIX)}.weight"
        seen = _as_trained(weights[name].to(place))
        merged = seen.float() + scale * (b.to(place).float() @ a.to(place).float())
        rounded = _round_to_bf16(merged, random) if options.precision == "bf16" else merged
        weights[name] = rounded.cpu()
    return weights


def _as_trained(weight: "torch.Tensor") -> "torch.Tensor":
    """A matrix as it comes back from 4 bits, in its own data type."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn.modules import Params4bit

    parameter: Any = Params4bit(
        weight,
        requires_grad=False,
        compress_statistics=True,
        quant_type="nf4",
        quant_storage=weight.dtype,
    )
    quantized = parameter.to(weight.device)  # which quantises
    seen: torch.Tensor = dequantize_4bit(quantized.data, quantized.quant_state)
    return seen


def _round_to_bf16(weight: "torch.Tensor", random: "torch.Generator") -> "torch.Tensor":
    """fp32 to bf16, up or down at random, so that the expected value stays.

    De-quantised weights are bf16 numbers, and most of an adapter's changes are smaller than half a step between
    two of them: rounding to the nearest would drop these, and with them much of the training. Measured on
    SmolLM2-135M, 5 steps, mean error of the logits: 0.43 by nearest, 0.03 at random, where training had changed
    them by 0.75.
    """
    import torch

    bits = weight.float().contiguous().view(torch.int32)
    dither = torch.randint(
        0, 1 << 16, bits.shape, dtype=torch.int32, device=bits.device, generator=random
    )  # below bf16's last bit; the sign is a bit of its own, so this adds to the magnitude
    return ((bits + dither) & -(1 << 16)).view(torch.float32).to(torch.bfloat16)


def _pairs(adapter: Mapping[str, "torch.Tensor"]) -> dict[str, tuple["torch.Tensor", "torch.Tensor"]]:
    """The two factors (rank, in) and (out, rank) by the name of the layer that they change."""
    layers = [name.removesuffix(_LORA_A) for name in adapter if name.endswith(_LORA_A)]
    assert 2 * len(layers) == len(adapter), (
        f"not a LoRA adapter: {sorted(adapter)[:3]} … ({len(adapter)} tensors)"
    )
    return {layer: (adapter[layer + _LORA_A], adapter[layer + _LORA_B]) for layer in layers}


def _linear_names(model: "PreTrainedModel") -> list[str]:
    """The last parts of the names of all linear layers but the output layer: q_proj, down_proj, …"""
    from torch import nn

    output = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    found = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not output
    }
    if not found:
        raise ValueError(f"{type(model).__name__} has no linear layers that an adapter could change")
    return sorted(found)
