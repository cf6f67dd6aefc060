"""What this machine and the Ray cluster have, against what a run needs."""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metamath_ray.training._estimate import GIB, Estimate, estimate
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._shape import ModelShape

GPU_WORKER_CPUS = 8
_MEMORY = Path("/proc/meminfo")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine that the driver runs on; `gpu_bytes` of the smallest GPU, 0 without one."""

    cpu_cores: int
    memory_bytes: int
    num_gpus: int = 0
    gpu: str | None = None
    gpu_bytes: int = 0
    has_bf16: bool = True
    torch_cuda: str | None = None


def look_at_machine() -> Machine:
    """This machine as it is now: cores, memory that is free and allowed to this process, GPUs."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    if found := re.search(
        r"^MemAvailable:\s+(\d+) kB$", _MEMORY.read_text() if _MEMORY.is_file() else "", re.M
    ):
        memory = int(found[1]) * 1024  # caches can be given up
    if _CGROUP_LIMIT.is_file() and (limit := _CGROUP_LIMIT.read_text().strip()).isdigit():
        memory = min(memory, int(limit))
    machine: dict[str, Any] = {
        "cpu_cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "torch_cuda": torch.version.cuda,
    }
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        machine |= {
            "num_gpus": count,
            "gpu": torch.cuda.get_device_name(),
            "gpu_bytes": min(torch.cuda.get_device_properties(index).total_memory for index in range(count)),
            "has_bf16": torch.cuda.is_bf16_supported(including_emulation=False),
        }
    return Machine(**machine)


def wants_gpu(options: TrainOptions, machine: Machine) -> bool:
    """Whether `device.kind` means GPUs here."""
    return options.device.kind == "gpu" or (options.device.kind == "auto" and machine.num_gpus > 0)


def check_machine(
    options: TrainOptions, machine: Machine, shape: ModelShape | None, *, is_cluster: bool
) -> Iterator[str]:
    """What this machine lacks, a line each; a cluster's GPUs and cores are `check_cluster`'s."""
    if wants_gpu(options, machine):
        if not is_cluster:
            yield from check_gpus(options, machine)
        if shape is not None and machine.num_gpus:
            yield from _check_gpu_memory(options, machine, shape)
        return
    if not is_cluster:
        each = options.device.cpus_per_worker or 1
        if (cores := each * options.num_workers) > machine.cpu_cores:
            yield (
                f"{options.num_workers} workers with {each} CPU cores each need {cores} "
                f"cores, this machine has {machine.cpu_cores}; lower --num-workers or --device.cpus-per-worker"
            )
        if shape is not None:
            yield from _check_memory(options, machine, shape)


def check_cluster(options: TrainOptions) -> Iterator[str]:
    """What the running Ray cluster lacks: without it, Ray Train would wait for ever."""
    ray = sys.modules["ray"]
    from metamath_ray.training._device import choose_kind

    nodes = _nodes(ray)
    if choose_kind(options.device) == "gpu":
        gpus = sum(int(node.get("GPU", 0)) for node in nodes)
        if gpus < options.num_workers:
            yield (
                f"num_workers {options.num_workers} needs as many GPUs, the Ray cluster has {gpus}; "
                "lower --num-workers, or add nodes"
            )
            return
        cpus = options.device.cpus_per_worker or _gpu_worker_cpus(nodes)
        places = sum(min(int(node.get("GPU", 0)), _places(node, cpus)) for node in nodes)
    else:
        cpus = options.device.cpus_per_worker or 1
        places = sum(_places(node, cpus) for node in nodes)
    if places < options.num_workers:
        cores = sum(node.get("CPU", 0) for node in nodes)
        yield (
            f"{options.num_workers} workers with {cpus} CPU cores each need {cpus * options.num_workers} cores, "
            f"the Ray cluster has {cores:.0f} on {len(nodes)} node{'s' * (len(nodes) != 1)}, room for {places} such "
            "workers; lower --device.cpus-per-worker or --num-workers"
        )


def settle_device(options: TrainOptions) -> TrainOptions:
    """The options with `device.kind` and `device.cpus_per_worker` as the running Ray cluster decides them.

    For the driver, once: workers reserve so many cores, and run so many threads. On CPU a worker gets the largest
    whole share with which all of them find room on the nodes.
    """
    from metamath_ray.training._device import choose_kind

    kind = choose_kind(options.device)
    cpus = options.device.cpus_per_worker
    if cpus is None:
        nodes = _nodes(sys.modules["ray"])
        cpus = _gpu_worker_cpus(nodes) if kind == "gpu" else _cpu_worker_cpus(nodes, options.num_workers)
    device = options.device.model_copy(update={"kind": kind, "cpus_per_worker": cpus})
    return options.model_copy(update={"device": device})


def _nodes(ray: Any) -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _places(node: dict[str, float], cpus: int) -> int:
    return int(node.get("CPU", 0) // cpus)


def _cpu_worker_cpus(nodes: list[dict[str, float]], num_workers: int) -> int:
    most = int(max((node.get("CPU", 0) for node in nodes), default=1))
    shares = range(most, 1, -1)
    return next((cpus for cpus in shares if sum(_places(node, cpus) for node in nodes) >= num_workers), 1)


def _gpu_worker_cpus(nodes: list[dict[str, float]]) -> int:
    """What every node has for each of its GPUs, at most `GPU_WORKER_CPUS`."""
    shares = [_places(node, int(node["GPU"])) for node in nodes if node.get("GPU", 0) >= 1]
    return max(min(GPU_WORKER_CPUS, *shares), 1) if shares else GPU_WORKER_CPUS


def find_fit(options: TrainOptions, shape: ModelShape, *, gpu: str | None, limit: float) -> str | None:
    """The first change of options, gentlest first, whose estimate stays under `limit` bytes; as flags to add."""
    smaller: dict[str, Any] = {}
    for flag, change in _changes(options):
        smaller |= change
        flags = flag if len(smaller) == len(change) else f"{flag} (with all gentler changes)"
        changed = TrainOptions.model_validate(options.model_dump() | smaller)
        if estimate(changed, shape, gpu=gpu).memory_bytes <= limit:
            return flags
    return None


def _changes(options: TrainOptions) -> Iterator[tuple[str, dict[str, Any]]]:
    if options.micro_batch_size > 1:
        yield "--micro-batch-size 1", {"micro_batch_size": 1}
    if not options.gradient_checkpointing:
        yield "--gradient-checkpointing", {"gradient_checkpointing": True}
    if options.zero_stage < 3 and options.num_workers > 1:
        yield "--zero-stage 3", {"zero_stage": 3}
    if options.device.kind != "cpu" and options.device.offload_optimizer == "none":
        device = options.device.model_dump() | {"offload_optimizer": "cpu"}
        yield "--device.offload-optimizer cpu", {"device": device, "zero_stage": max(options.zero_stage, 2)}
    if options.method == "full":
        yield "--recipe qlora", {"method": "qlora"}


def check_gpus(options: TrainOptions, machine: Machine) -> Iterator[str]:
    """What hinders training on as many GPUs of this machine as there are workers, a line."""
    if machine.torch_cuda is None:
        yield "device.kind gpu needs a CUDA build of torch, this is a CPU build; install one, or --device.kind cpu"
    elif not machine.num_gpus:
        yield "device.kind gpu: torch finds no GPU; look at the driver (nvidia-smi), or --device.kind cpu"
    elif machine.num_gpus < options.num_workers:
        yield (
            f"num_workers {options.num_workers} needs as many GPUs, this machine has {machine.num_gpus}; "
            f"give --num-workers {machine.num_gpus}, or connect to a cluster with RAY_ADDRESS"
        )
    if machine.num_gpus and not machine.has_bf16 and options.precision == "bf16":
        yield f"precision bf16 is nothing that {machine.gpu} can do; give --precision fp32"


def _check_gpu_memory(options: TrainOptions, machine: Machine, shape: ModelShape) -> Iterator[str]:
    needed = estimate(options, shape, gpu=machine.gpu)
    if needed.memory_bytes > machine.gpu_bytes:
        yield _too_little(options, shape, needed, machine.gpu, machine.gpu_bytes)
    host = needed.host_bytes * min(options.num_workers, machine.num_gpus)
    if host > machine.memory_bytes:
        yield (
            f"offloading needs about {host / GIB:.0f} GiB of memory on a node, {machine.memory_bytes / GIB:.0f} are "
            "free; give --device.offload-optimizer nvme, or none and more GPUs"
        )


def _check_memory(options: TrainOptions, machine: Machine, shape: ModelShape) -> Iterator[str]:
    needed = estimate(options, shape)
    if needed.memory_bytes * options.num_workers > machine.memory_bytes:
        yield _too_little(options, shape, needed, None, machine.memory_bytes // options.num_workers)


def _too_little(
    options: TrainOptions, shape: ModelShape, needed: Estimate, gpu: str | None, limit: int
) -> str:
    change = find_fit(options, shape, gpu=gpu, limit=limit)
    way_out = f"{change} would do" if change else "take more or larger GPUs, or a smaller model"
    return (
        f"a worker needs about {needed.memory_bytes / GIB:.1f} GiB, {'a ' + gpu if gpu else 'here it'} has "
        f"{limit / GIB:.1f}; {way_out}"
    )
