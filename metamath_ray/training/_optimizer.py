"""Which AdamW a worker takes: PyTorch's, or DeepSpeed's, which is compiled on first use."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from metamath_ray.training._options import DeviceKind, TrainOptions


def choose_optimizer(options: TrainOptions, *, device: DeviceKind) -> Literal["torch", "deepspeed"]:
    """What `device.optimizer` means on this machine.

    `auto` is DeepSpeed's FusedAdam where it can be compiled, its CPUAdam always where optimizer state is offloaded,
    and else PyTorch's (its fused one on GPU).
    """
    if options.device.optimizer != "auto":
        return options.device.optimizer
    if device == "cpu":
        return "torch"
    if options.device.offload_optimizer != "none":
        return "deepspeed"
    return "torch" if build_hindrance() else "deepspeed"


def check_optimizer(options: TrainOptions, *, on_gpu: bool) -> Iterator[str]:
    """A line where the optimizer asked for does not go with the other options."""
    asked, offload = options.device.optimizer, options.device.offload_optimizer
    if asked == "torch" and offload != "none":
        yield f"device.offload_optimizer {offload} needs DeepSpeed's Adam; give --device.optimizer auto"
    elif asked == "deepspeed" and not on_gpu:
        yield "device.optimizer deepspeed needs a GPU; give --device.optimizer auto"


def check_build(options: TrainOptions, *, on_gpu: bool) -> Iterator[str]:
    """A line where DeepSpeed's Adam is asked for, or needed for offload, and can't be compiled on this machine."""
    if not on_gpu or choose_optimizer(options, device="gpu") == "torch":
        return
    if hindrance := build_hindrance():
        is_asked = options.device.offload_optimizer == "none"
        cure = "give --device.optimizer auto" if is_asked else "leave device.offload_optimizer at none"
        yield f"DeepSpeed's Adam can't be compiled: {hindrance}; install that, or {cure}"


def build_hindrance() -> str | None:
    """What is missing here to compile DeepSpeed's operations for PyTorch's CUDA version, None where nothing is."""
    import torch

    wanted = torch.version.cuda
    if wanted is None:
        return "this PyTorch is built without CUDA"
    from torch.utils.cpp_extension import CUDA_HOME, is_ninja_available

    found = _toolkit_version(CUDA_HOME)
    if found is None:
        return f"no CUDA toolkit {wanted} with nvcc (CUDA_HOME is {CUDA_HOME or 'not set'})"
    if not _fits(found, wanted):
        return f"the CUDA toolkit is {found}, PyTorch's is {wanted}"
    return None if is_ninja_available() else "no ninja"


def _toolkit_version(cuda_home: str | None) -> str | None:
    """As "12.9"."""
    if cuda_home is None:
        return None
    try:
        nvcc = str(Path(cuda_home) / "bin" / "nvcc")
        said = subprocess.run([nvcc, "-V"], capture_output=True, text=True, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    release = re.search(r"release (\d+\.\d+)", said)
    return release[1] if release else None


def _fits(found: str, wanted: str) -> bool:
    """DeepSpeed's rule: minor versions may differ, up to CUDA 12."""
    if found.split(".")[:2] == wanted.split(".")[:2]:
        return True
    major = found.split(".")[0]
    return major == wanted.split(".")[0] and int(major) <= 12
