"""Memory, steps and hours of a training run, from its options and the model's shape alone.

Memory is what DeepSpeed 0.19's engine and our loss hold at their two worst moments: when backward begins, and when
gradients are reduced or the optimizer steps. Figures are for one worker; `bench_memory.py` measures them.
"""

import math
from dataclasses import dataclass

from metamath_ray.training._data_size import METAMATHQA, DataSize
from metamath_ray.training._flops import (
    adapter_rank,
    executed_flops_per_token,
    model_flops_per_token,
    peak_flops,
)
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._schedule import StepPlan
from metamath_ray.training._shape import ModelShape

GIB = 2**30
ASSUMED_UTILISATION = {"full": 0.45, "qlora": 0.30}
"""Share of a GPU's peak that executed operations reach, by method. An assumption: published 7B to 70B runs on A100
nodes with fused attention lie between 0.4 and 0.55; unpacking 4-bit weights costs QLoRA the rest."""
CPU_CORE_FLOPS = 75e9
"""FLOP/s of one core of a server CPU in a training step (bf16 with AMX or fp32 with AVX-512), a quarter of what its
matrix products alone reach. Measured 78e9 over a run of SmolLM2-135M in fp32 on two quiet cores (206 tokens a
second); it differs by machine, and the progress line has the truth after a step."""
_GPU_CONTEXT = 1.0 * GIB  # CUDA context, NCCL, kernels, workspaces
_CPU_CONTEXT = 0.8 * GIB  # a worker's interpreter and libraries
_FRAGMENTATION = 1.05  # blocks that the GPU's allocator can't use
_KEPT = 1.5
"""What a CPU worker takes for the tensors of a step over their size: it keeps the memory of freed ones (see
`_device`), and others rarely fit into it. Measured 1.2 to 1.6 over two steps of SmolLM2-135M, 1.6 over a run."""
_BUCKET = 500_000_000  # DeepSpeed's reduce_bucket_size
_SUB_GROUP = 1_000_000_000  # weights that ZeRO 3 updates at once
_LIVE_PARAMETERS = 1_000_000_000  # DeepSpeed's stage3_max_live_parameters
# 4 bits; an 8-bit constant a block of 64; a 32-bit one for 256 of those
_NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run will need. Bytes of one worker, on its device; what it offloads takes `host_bytes` of its node's
    memory and `nvme_bytes` of a disk there.

    `activations` and `loss` live when backward begins; `reduction` is what gradients and the optimizer's step need on
    top of the states, when there are no activations. `seconds` is None where the device's speed is unknown.
    """

    parameters: int
    trainable_parameters: int
    weights: float
    optimizer: float
    gradients: float
    buckets: float
    activations: float
    loss: float
    gathered: float
    reduction: float
    context: float
    host_bytes: float
    nvme_bytes: float
    checkpoint_bytes: float
    export_bytes: float
    num_tokens: int
    num_steps: int
    model_flops_per_token: float
    seconds: float | None
    on_gpu: bool

    @property
    def memory_bytes(self) -> float:
        """The most that one worker holds on its device at once."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, float]:
        """The bytes that `memory_bytes` is the sum of, by what they are for."""
        states = {"weights": self.weights, "optimizer": self.optimizer}
        batch = {"activations": self.activations, "loss": self.loss}
        backward = {"gradients": self.gradients, "buckets": self.buckets, "gathered layers": self.gathered}
        reduction = {"gradients and their reduction": self.reduction}
        if self.on_gpu:
            tensors = states | max(backward | batch, reduction, key=_total)
            spare = {"what the allocator can't use": _total(tensors) * (_FRAGMENTATION - 1)}
            return {"CUDA and NCCL": self.context} | tensors | spare
        step = max(backward, reduction, key=_total) | batch
        spare = {"freed memory that is kept": _total(step) * (_KEPT - 1)}
        return {"interpreter and libraries": self.context} | states | step | spare

    @property
    def hours(self) -> float | None:
        """`seconds` in hours."""
        return None if self.seconds is None else self.seconds / 3600


def estimate(
    options: TrainOptions,
    shape: ModelShape,
    *,
    data: DataSize = METAMATHQA,
    gpu: str | None = None,
    cpu_cores: int | None = None,
) -> Estimate:
    """What training `shape` on `data` with `options` needs; nothing is loaded or asked of the machine.

    `gpu` is the GPU's name (see `peak_flops`), None for training on `cpu_cores`, those of all workers together.
    """
    states = _states(options, shape, on_gpu=gpu is not None)
    plan = StepPlan.make(data.packs, options)
    return Estimate(
        parameters=shape.num_parameters,
        trainable_parameters=_num_trainable(options, shape),
        weights=states.weights,
        optimizer=states.optimizer,
        gradients=states.gradients,
        buckets=states.buckets,
        activations=activation_bytes(options, shape),
        loss=loss_bytes(options, shape, response_share=data.response_share),
        gathered=_gathered_bytes(options, shape),
        reduction=states.reduction,
        context=_GPU_CONTEXT if gpu else _CPU_CONTEXT,
        host_bytes=states.offloaded["cpu"],
        nvme_bytes=states.offloaded["nvme"],
        checkpoint_bytes=_checkpoint_bytes(options, shape),
        export_bytes=_export_bytes(options, shape),
        num_tokens=round(plan.num_positions * data.tokens / max(data.packs, 1)),
        num_steps=plan.num_steps,
        model_flops_per_token=model_flops_per_token(
            shape,
            document_length=data.document_length,
            response_share=data.response_share,
            adapter_rank=adapter_rank(options),
        ),
        seconds=_seconds(
            options, shape, data, num_sequences=plan.num_positions, gpu=gpu, cpu_cores=cpu_cores
        ),
        on_gpu=gpu is not None,
    )


def activation_bytes(options: TrainOptions, shape: ModelShape) -> float:
    """What one micro-batch keeps for backward; with gradient checkpointing each layer's input and one whole layer."""
    tokens = options.micro_batch_size * options.max_length
    width = _width(options)
    layer = tokens * _layer_bytes_per_token(options, shape)
    working = tokens * width * 3 * shape.intermediate  # gradients of the MLP's products while they are made
    last = tokens * (4 + 2 * width) * shape.hidden  # the last norm, and the hidden states that the loss takes
    if not options.gradient_checkpointing:
        return shape.layers * layer + last
    return shape.layers * tokens * width * shape.hidden + layer + working + last


def loss_bytes(options: TrainOptions, shape: ModelShape, *, response_share: float) -> float:
    """A chunk of logits (twice in bf16 and once in fp32; in fp32 once), and the output layer's gradient."""
    responses = math.ceil(options.micro_batch_size * options.max_length * response_share)
    width = _width(options)
    chunk = min(options.loss_chunk_tokens, responses) * shape.vocab * (4 if width == 4 else 4 + 2 * width)
    hidden = 2 * responses * width * shape.hidden
    gradient = 0 if options.method == "qlora" else shape.embedding_weights * (4 + width)
    return chunk + hidden + gradient


@dataclass(frozen=True, slots=True, kw_only=True)
class _States:
    """What lives through a step, the most that gradients take at its end, and what is offloaded to where."""

    weights: float
    optimizer: float
    gradients: float
    buckets: float
    reduction: float
    offloaded: dict[str, float]


def _states(options: TrainOptions, shape: ModelShape, *, on_gpu: bool) -> _States:
    width, workers, stage = _width(options), options.num_workers, options.zero_stage
    trainable = _num_trainable(options, shape)
    part = trainable if stage == 0 else math.ceil(trainable / workers)
    weights = _weight_bytes(options, shape) / (workers if stage == 3 else 1)
    optimizer = (8.0 if stage == 0 and width == 4 else 12.0) * part
    gradients = 4.0 * (trainable if stage < 2 else part)
    buckets = _bucket_bytes(options, trainable, on_gpu=on_gpu)
    flat = 4.0 * (
        min(part, _SUB_GROUP) if stage == 3 else part if stage else 0
    )  # gradients that a step takes
    adam = 0.0 if on_gpu else 2 * flat  # what PyTorch's AdamW holds of them, FusedAdam nothing
    if stage == 3:
        reduction = gradients + buckets + flat + adam  # its bucket is never given back
    else:
        reduction = max(gradients + buckets + (flat if width == 4 else 0.0), gradients + flat, flat + adam)
    offloaded = {"cpu": 0.0, "nvme": 0.0}
    if (place := options.device.offload_optimizer) != "none":
        offloaded[place] += optimizer + 4.0 * part
        optimizer, gradients, reduction = 0.0, 0.0, buckets
    if (place := options.device.offload_parameters) != "none":
        offloaded[place] += weights
        weights = 0.0
    return _States(
        weights=weights,
        optimizer=optimizer,
        gradients=gradients if stage == 3 or options.accumulation_steps > 1 else 0.0,
        buckets=buckets if on_gpu or stage == 3 else 0.0,
        reduction=reduction,
        offloaded=offloaded,
    )


def _bucket_bytes(options: TrainOptions, trainable: int, *, on_gpu: bool) -> float:
    """Where gradients wait for their reduction.

    On a GPU there in full size (below ZeRO 3 twice, to overlap), on a CPU as far as it was written to.
    """
    if options.zero_stage == 0:
        return 0.0
    size = _BUCKET if on_gpu else min(_BUCKET, trainable)
    return float(size * _width(options) * (2 if on_gpu and options.zero_stage < 3 else 1))


def _gathered_bytes(options: TrainOptions, shape: ModelShape) -> float:
    """ZeRO 3: the layers that are whole at one time, DeepSpeed's limit on them or the two largest parts."""
    if options.zero_stage != 3 or (options.num_workers == 1 and options.device.offload_parameters == "none"):
        return 0.0
    bytes_per_weight = _weight_bytes(options, shape) / shape.num_parameters
    largest = max(2 * shape.layer_weights, shape.embedding_weights + shape.layer_weights)
    return min(max(largest, _LIVE_PARAMETERS), shape.num_parameters) * bytes_per_weight


def _layer_bytes_per_token(options: TrainOptions, shape: ModelShape) -> float:
    """What one layer keeps of a token, as transformers 5 computes it."""
    width, attention = _width(options), shape.attention_width
    norms = 2 * (4 + 2 * width) * shape.hidden  # in fp32 the input itself, its normed and its scaled form
    scores = shape.heads * options.max_length * (4 + width) if options.attention == "eager" else 0
    total = norms + width * (4 * attention + 4 * shape.intermediate) + scores
    if options.method == "qlora":
        inputs = sum(matrix_inputs for matrix_inputs, _ in shape.matrices)
        mask = 1 if options.lora.dropout else 0
        total += inputs * (width + mask) + len(shape.matrices) * options.lora.rank * width
        total -= width * shape.hidden  # a frozen matrix does not keep its input
    return total


def _weight_bytes(options: TrainOptions, shape: ModelShape) -> float:
    width = _width(options)
    if options.method == "full":
        return float(width * shape.num_parameters)
    quantised = shape.layers * shape.layer_matrix_weights
    rest = shape.num_parameters - quantised + shape.num_adapter_weights(options.lora.rank)
    return quantised * _NF4_BYTES + width * rest


def _checkpoint_bytes(options: TrainOptions, shape: ModelShape) -> float:
    """One checkpoint of all workers together: fp32 weights and two moments, and the weights in the model's type."""
    return (12.0 + _width(options)) * _num_trainable(options, shape)


def _export_bytes(options: TrainOptions, shape: ModelShape) -> float:
    adapter = shape.num_adapter_weights(options.lora.rank) if options.method == "qlora" else 0
    return float(_width(options) * (shape.num_parameters + adapter))


def _seconds(
    options: TrainOptions,
    shape: ModelShape,
    data: DataSize,
    *,
    num_sequences: int,
    gpu: str | None,
    cpu_cores: int | None,
) -> float | None:
    if gpu is None:
        speed = CPU_CORE_FLOPS * cpu_cores if cpu_cores else None
    else:
        peak = peak_flops(gpu)
        speed = peak and peak * options.num_workers * ASSUMED_UTILISATION[options.method]
    if speed is None:
        return None
    positions = num_sequences * options.max_length
    flops = executed_flops_per_token(
        options, shape, document_length=data.document_length, response_share=data.response_share
    )
    return positions * flops / speed


def _total(parts: dict[str, float]) -> float:
    return sum(parts.values())


def _num_trainable(options: TrainOptions, shape: ModelShape) -> int:
    return shape.num_adapter_weights(options.lora.rank) if options.method == "qlora" else shape.num_parameters


def _width(options: TrainOptions) -> int:
    return {"bf16": 2, "fp32": 4}[options.precision]
