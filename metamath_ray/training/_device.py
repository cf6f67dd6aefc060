"""The one switch between CPU and GPU."""

import ctypes
import os
import platform
import random
import resource
import sys
from dataclasses import dataclass

import numpy as np
import torch

from metamath_ray.training._options import DeviceKind, DeviceOptions

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h


@dataclass(frozen=True, slots=True)
class Device:
    """Where a worker trains."""

    kind: DeviceKind
    torch_device: torch.device

    @property
    def backend(self) -> str:
        """What the workers talk over."""
        return "nccl" if self.kind == "gpu" else "gloo"

    def peak_memory_bytes(self) -> int:
        """The most memory this process has held: on the GPU, or resident on the CPU."""
        if self.kind == "gpu":
            return torch.cuda.max_memory_allocated()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB

    def name(self) -> str:
        """The GPU's name, "cpu" without one."""
        return torch.cuda.get_device_name() if self.kind == "gpu" else "cpu"


def open_device(options: DeviceOptions, *, local_rank: int, num_threads: int) -> Device:
    """The device of this worker, made ready: threads, current GPU, and on CPU no op that needs compiling."""
    kind = choose_kind(options)
    torch.set_num_threads(num_threads)
    if kind == "gpu":
        torch.cuda.set_device(local_rank)
        return Device("gpu", torch.device("cuda", local_rank))
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    from deepspeed.ops import __compatible_ops__

    __compatible_ops__["deepspeed_shm_comm"] = False  # it is compiled on first use
    _keep_freed_memory()
    return Device("cpu", torch.device("cpu"))


def choose_kind(options: DeviceOptions) -> DeviceKind:
    """What `auto` means: in the Ray cluster where there is one, else on this machine. Workers are told."""
    if options.kind != "auto":
        return options.kind
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        return "gpu" if ray.cluster_resources().get("GPU", 0) > 0 else "cpu"
    return "gpu" if torch.cuda.is_available() else "cpu"


def _keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors for the next ones, instead of giving it back to the system.

    Every activation is a large block: as it comes, malloc maps and unmaps each of them, and the kernel fills its
    pages with zeros again and again.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 256 * 2**20)


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # what libraries draw from
    torch.manual_seed(seed)


def rng_state() -> dict[str, torch.Tensor | list[int]]:
    """The state of every generator that a step may draw from, in types that `weights_only` loads."""
    numpy_state = np.random.get_state(legacy=False)["state"]
    state: dict[str, torch.Tensor | list[int]] = {
        "torch": torch.get_rng_state(),
        "python": list(random.getstate()[1]),
        "numpy": [*numpy_state["key"].tolist(), numpy_state["pos"]],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_rng(state: dict[str, torch.Tensor | list[int]]) -> None:
    """Go on drawing where `rng_state` was taken."""
    torch.set_rng_state(torch.as_tensor(state["torch"]))
    random.setstate((3, tuple(state["python"]), None))
    *key, position = state["numpy"]
    np.random.set_state(("MT19937", np.array(key, dtype=np.uint32), int(position), 0, 0.0))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(torch.as_tensor(state["cuda"]))
