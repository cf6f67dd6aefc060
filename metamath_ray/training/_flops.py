"""Floating-point operations: what the model needs (for MFU), what a run executes (for time), what a device can do."""

from metamath_ray.training._options import TrainOptions
from metamath_ray.training._shape import ModelShape

_PEAK_TFLOPS = {  # dense, 16 bits (bf16 where the GPU has it), as its maker states; the longest name that fits wins
    "B200": 2250.0,
    "H200": 989.0,
    "H100": 989.0,
    "H100 PCIE": 756.0,
    "H100 NVL": 835.0,
    "H20": 148.0,
    "A100": 312.0,
    "A800": 312.0,
    "A40": 149.7,
    "A30": 165.0,
    "A10": 125.0,
    "A10G": 70.0,
    "A6000": 154.8,
    "6000 ADA": 364.2,
    "L40": 181.0,
    "L40S": 362.0,
    "L4": 121.0,
    "4090": 165.2,
    "3090": 71.0,
    "5090": 209.5,
    "V100": 125.0,
    "T4": 65.0,
}


def peak_flops(device: str) -> float | None:
    """Dense 16-bit FLOP/s of a GPU by its name ("NVIDIA A100-SXM4-80GB"); None for a CPU or an unknown one."""
    words = _words(device)
    for name in sorted(_PEAK_TFLOPS, key=len, reverse=True):
        if _words(name) <= words:
            return _PEAK_TFLOPS[name] * 1e12
    return None


def model_flops_per_token(
    shape: ModelShape, *, document_length: float, response_share: float = 1.0, adapter_rank: int | None = None
) -> float:
    """What forward and backward pass of one token need, nothing computed twice: the numerator of MFU.

    Two operations a weight forward, four backward; a frozen base (`adapter_rank` given) two, as its weights get no
    gradient. The output layer works on `response_share` of the tokens. Causal attention sees half of a document on
    average, of `document_length` tokens: the mean over tokens, not over documents (sum of squares / sum). Lookups,
    norms and softmax are left out.
    """
    weights = shape.layers * shape.layer_matrix_weights + response_share * shape.embedding_weights
    attention = 2 * shape.layers * shape.attention_width * document_length
    if adapter_rank is None:
        return 6 * weights + 3 * attention
    return 4 * weights + 3 * attention + 6 * shape.num_adapter_weights(adapter_rank)


def executed_flops_per_token(
    options: TrainOptions, shape: ModelShape, *, document_length: float, response_share: float = 1.0
) -> float:
    """What a run of `options` executes a position.

    Layers go forward once more with gradient checkpointing; sdpa and eager attention work on the whole square of a
    packed sequence, masked or not.
    """
    flops = model_flops_per_token(
        shape,
        document_length=document_length,
        response_share=response_share,
        adapter_rank=adapter_rank(options),
    )
    forward_attention = 2 * shape.layers * shape.attention_width * document_length
    if options.attention in {"sdpa", "eager"}:
        whole = 4 * shape.layers * shape.attention_width * options.max_length
        flops += 3 * (whole - forward_attention)
        forward_attention = whole
    if options.gradient_checkpointing:
        flops += 2 * shape.layers * shape.layer_matrix_weights + forward_attention
        flops += 2 * shape.num_adapter_weights(options.lora.rank) if options.method == "qlora" else 0
    return flops


def flops_per_step(
    options: TrainOptions, shape: ModelShape, *, tokens: int, response_tokens: int, document_length: float
) -> float:
    """Model FLOPs of an optimizer step over `tokens` real ones; by `seconds * num_workers * peak` it is the MFU."""
    if tokens == 0:
        return 0.0
    return tokens * model_flops_per_token(
        shape,
        document_length=document_length,
        response_share=response_tokens / tokens,
        adapter_rank=adapter_rank(options),
    )


def adapter_rank(options: TrainOptions) -> int | None:
    """The adapter's rank, None where the whole model is trained."""
    return options.lora.rank if options.method == "qlora" else None


def _words(name: str) -> set[str]:
    return set(name.upper().replace("-", " ").replace("_", " ").split()) - {
        "RTX",
        "NVIDIA",
        "TESLA",
        "GEFORCE",
    }
