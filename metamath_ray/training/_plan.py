"""What `--plan` prints: memory, steps and time of a run before it is started."""

from collections.abc import Iterator, Sequence

import numpy as np

from metamath_ray.dataset_rows import DatasetRow
from metamath_ray.training._data_size import METAMATHQA, DataSize
from metamath_ray.training._estimate import GIB, Estimate, estimate
from metamath_ray.training._machine import Machine, look_at_machine, wants_gpu
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._packed import read_manifest
from metamath_ray.training._packing import pack_documents
from metamath_ray.training._recipes import find_shape, load_recipe
from metamath_ray.training._rows import load_rows
from metamath_ray.training._template import render_prompt

_SAMPLE_ROWS = 2_000
_LENGTH_SPREAD = (
    1.1  # mean length over tokens to mean over rows: 1.10 in GSM8K train, 1.19 in MATH up to 512 tokens
)
_CHARACTERS_PER_TOKEN = 2.9  # of GSM8K train in SmolLM2's tokens; 2.4 for MATH, 3.0 in Qwen's


def describe_plan(options: TrainOptions, *, machine: Machine | None = None) -> list[str]:
    """Lines for a person: data, memory, steps and time; nothing is trained.

    On a machine without GPUs the plan of a recipe for GPUs is for the recipe's. Raises `ValueError` or `OSError`
    where the data can't be read, and where the model's shape is known neither from its folder nor from the recipe.
    """
    machine = machine or look_at_machine()
    shape = find_shape(options)
    if shape is None:
        raise ValueError(
            f"model {options.model!r} is not here and not the recipe's, so nothing can be estimated; give a folder"
        )
    data, origin = measure_data(options)
    gpu, cores = _choose_device(options, machine)
    needed = estimate(options, shape, data=data, gpu=gpu, cpu_cores=cores)
    device = (
        f"{options.num_workers} x {gpu}" if gpu else f"{options.num_workers} CPU workers on {cores} cores"
    )
    return [
        f"data: {data.rows:,} rows, {data.tokens:,} tokens in {data.packs:,} sequences of "
        f"{options.max_length} ({origin})",
        f"model: {needed.parameters:,} parameters, {needed.trainable_parameters:,} of them trained "
        f"({options.method})",
        f"steps: {needed.num_steps:,} of {options.global_batch_size} sequences, about "
        f"{options.global_batch_size * data.rows / max(data.packs, 1):.0f} rows; {options.accumulation_steps} "
        "micro-batches a worker",
        *_memory_lines(needed, on_gpu=gpu is not None),
        f"disk: {needed.checkpoint_bytes * options.checkpoint.keep / GIB:.1f} GiB for {options.checkpoint.keep} "
        f"checkpoints, {needed.export_bytes / GIB:.1f} GiB for the model",
        f"time: about {_duration(needed.seconds)} on {device} (speed assumed, not measured)",
    ]


def measure_data(options: TrainOptions) -> tuple[DataSize, str]:
    """The size of the data, and where it is known from: the run's packs, a sample of the rows, or MetaMathQA."""
    try:
        manifest = read_manifest(options.output / "data")
    except (OSError, ValueError):
        manifest = None
    if manifest is not None:
        data = DataSize(
            rows=manifest.num_rows,
            tokens=manifest.num_tokens,
            packs=manifest.num_packs,
            response_tokens=manifest.num_response_tokens,
            document_length=_LENGTH_SPREAD * manifest.num_tokens / max(manifest.num_rows, 1),
        )
        return data, f"as packed in {options.output / 'data'}"
    if not options.data:
        return METAMATHQA, "assumed: MetaMathQA, as no data is named"
    return _estimate_rows(load_rows(str(options.data), limit=options.limit_rows).rows, options)


def _estimate_rows(rows: Sequence[DatasetRow], options: TrainOptions) -> tuple[DataSize, str]:
    sample = rows[:: max(len(rows) // _SAMPLE_ROWS, 1)]
    prompts = np.array([len(render_prompt(row.query, compat=options.compat)) for row in sample])
    responses = np.array([len(row.response) for row in sample])
    lengths = ((prompts + responses) / _CHARACTERS_PER_TOKEN).astype(int) + 2
    fits = lengths <= options.max_length
    lengths, scale = lengths[fits], len(rows) / len(sample)
    if not len(lengths):
        raise ValueError(
            f"max_length must be longer than the shortest row, got {options.max_length}; no row fits"
        )
    is_packed = options.packing and options.compat == "fixed"
    packs = (
        len(pack_documents(lengths.tolist(), max_length=options.max_length)) if is_packed else len(lengths)
    )
    data = DataSize(
        rows=round(len(lengths) * scale),
        tokens=round(int(lengths.sum()) * scale),
        packs=max(round(packs * scale), 1),
        response_tokens=round(float(responses[fits].sum()) / _CHARACTERS_PER_TOKEN * scale),
        document_length=float((lengths**2).sum() / lengths.sum()),
    )
    return data, "estimated from characters"


def _choose_device(options: TrainOptions, machine: Machine) -> tuple[str | None, int | None]:
    if wants_gpu(options, machine) and machine.gpu:
        return machine.gpu, None
    hardware = load_recipe(options.recipe).hardware
    if hardware and hardware.gpu and options.device.kind != "cpu":
        return hardware.gpu, None
    cores = (options.device.cpus_per_worker or machine.cpu_cores) * options.num_workers
    return None, min(cores, machine.cpu_cores)


def _memory_lines(needed: Estimate, *, on_gpu: bool) -> Iterator[str]:
    yield f"memory: {needed.memory_bytes / GIB:.2f} GiB a {'GPU' if on_gpu else 'worker'}, the sum of"
    shown = (f"{name} {num_bytes / GIB:.2f}" for name, num_bytes in needed.parts.items() if num_bytes)
    yield f"  {', '.join(shown)}"
    if needed.host_bytes:
        yield f"offloaded to memory: {needed.host_bytes / GIB:.2f} GiB a worker"
    if needed.nvme_bytes:
        yield f"offloaded to NVMe: {needed.nvme_bytes / GIB:.2f} GiB a worker"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "an unknown time"
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"
