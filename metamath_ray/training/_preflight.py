"""What can be known to be wrong before a model is loaded; each fault is one line that says what to change."""

import os
import shutil
import socket
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from packaging.version import Version

from metamath_ray.training._estimate import GIB, Estimate, estimate
from metamath_ray.training._machine import (
    Machine,
    check_cluster,
    check_gpus,
    check_machine,
    look_at_machine,
    wants_gpu,
)
from metamath_ray.training._model_files import check_model
from metamath_ray.training._optimizer import check_build, check_optimizer
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._recipes import find_shape
from metamath_ray.training._rows import load_rows
from metamath_ray.training._shape import ModelShape
from metamath_ray.training._storage import is_local_disk
from metamath_ray.training._watch import check_watchers

TESTED = {
    "ray": ("2.60", "3"),
    "torch": ("2.13", "3"),
    "deepspeed": ("0.19.8", "0.20"),
    "transformers": ("5.19", "6"),
    "peft": ("0.21", "1"),
    "bitsandbytes": ("0.50", "1"),
}
"""Versions that are known to work: from the first on, and below the second; an older one is refused."""


class PreflightError(ValueError):
    """The run can't be started; the text has a line for each fault."""

    @property
    def faults(self) -> list[str]:
        """The lines."""
        return str(self).splitlines()


def check_training(options: TrainOptions, *, machine: Machine | None = None) -> list[str]:
    """What is worth knowing before the start, a line each; raises `PreflightError` with all that must be changed.

    Loads no model and starts nothing. `machine` stands in for this one. With RAY_ADDRESS set, GPUs and cores are the
    cluster's, which also decides what `device.kind auto` means: `check_running_cluster`.
    """
    is_cluster, is_here = "RAY_ADDRESS" in os.environ, machine is None
    machine = machine or look_at_machine()
    faults, notes = check_model(options.model)
    shape = None if faults else _find_shape(options, notes)
    on_gpu = wants_gpu(options, machine)
    if not is_cluster or options.device.kind != "auto":
        faults += check_combination(options, on_gpu=on_gpu)
    if is_here and not is_cluster:
        faults += check_build(options, on_gpu=on_gpu)
    faults += check_watchers(options)
    faults += check_data(options)
    faults += check_machine(options, machine, shape, is_cluster=is_cluster)
    if shape is not None:
        faults += check_disk(options, estimate(options, shape))
    faults += check_versions(options, notes)
    faults += check_port(os.environ.get("MASTER_PORT"))
    if faults:
        raise PreflightError("\n".join(faults))
    return notes


def check_running_cluster(options: TrainOptions) -> None:
    """Once Ray runs: raise `PreflightError` where it has fewer GPUs or cores than the workers ask for, or its kind of
    device, if that is left to it, does not go with the other options.
    """
    from metamath_ray.training._device import choose_kind

    on_gpu = choose_kind(options.device) == "gpu"
    faults = [*check_cluster(options), *check_combination(options, on_gpu=on_gpu)]
    if on_gpu and "RAY_ADDRESS" not in os.environ:
        faults += check_gpus(options, look_at_machine())  # Ray may find some that this torch can't use
    if faults:
        raise PreflightError("\n".join(faults))


def check_combination(options: TrainOptions, *, on_gpu: bool) -> Iterator[str]:
    """Options that are right alone and wrong together."""
    device, stage = options.device, options.zero_stage
    offloads = {device.offload_optimizer, device.offload_parameters} - {"none"}
    if offloads and not on_gpu:
        yield "device.offload_optimizer and device.offload_parameters move GPU memory; leave them at none on CPU"
    if device.offload_optimizer != "none" and stage == 0:
        yield "device.offload_optimizer needs ZeRO; give --zero-stage 1, 2 or 3"
    if device.offload_parameters != "none" and stage != 3:
        yield f"device.offload_parameters needs ZeRO 3, got zero_stage {stage}; give --zero-stage 3"
    if "nvme" in offloads:
        yield from _check_nvme(options)
    yield from _check_attention(options, on_gpu=on_gpu)
    yield from check_optimizer(options, on_gpu=on_gpu)


def check_data(options: TrainOptions) -> Iterator[str]:
    """Whether there is a row to train on; no more of the data is read than that takes."""
    if not options.data:
        yield "data must be named: --data with a run directory of a build, or a file of query and response"
        return
    try:
        load_rows(str(options.data), limit=1)
    except OSError as error:
        yield f"{error}; give --data with a file or folder that can be read"
    except ValueError as error:
        yield " ".join(str(error).split())


def check_disk(options: TrainOptions, needed: Estimate) -> Iterator[str]:
    """Room for the model and the checkpoints; what the run itself left there counts as free.

    A new checkpoint is written here first (`open_staging`), then copied to those that are kept; after that one goes.
    """
    num_here = 1 if is_local_disk(options.output) else 0
    storage, num_stored = options.checkpoint.storage, options.checkpoint.keep + 1
    places = [(options.output, num_here, needed.export_bytes, "--output")]
    if storage is None:
        places = [(options.output, num_here + num_stored, needed.export_bytes, "--output")]
    elif "://" not in storage:
        places.append((Path(storage), num_stored, 0.0, "--checkpoint.storage"))
    for folder, num_checkpoints, model_bytes, option in places:
        needs = num_checkpoints * needed.checkpoint_bytes + model_bytes
        has = free_bytes(folder) + _size_of(folder)
        if has < needs:
            yield (
                f"{folder} needs {needs / GIB:.1f} GiB for {num_checkpoints} checkpoints"
                f"{' and the model' if model_bytes else ''}, {has / GIB:.1f} are free; name another {option}, or "
                "lower --checkpoint.keep"
            )


def check_versions(options: TrainOptions, notes: list[str]) -> Iterator[str]:
    """Packages that are missing or older than tested; newer ones go to `notes`."""
    for package, (first, beyond) in TESTED.items():
        if package in {"peft", "bitsandbytes"} and options.method != "qlora":
            continue
        try:
            found = Version(version(package))
        except PackageNotFoundError:
            yield f"{package} is not installed; pip install '{package}>={first},<{beyond}'"
            continue
        if found < Version(first):
            yield f"{package} {found} is too old; pip install '{package}>={first},<{beyond}'"
        elif found >= Version(beyond):
            notes.append(f"{package} {found} is newer than what was tested (below {beyond})")


def check_port(port: str | None) -> Iterator[str]:
    """MASTER_PORT, where torch.distributed's workers meet, must be a free port where it is set."""
    if port is None:
        return
    if not port.isdigit() or not 0 < int(port) < 65536:
        yield f"MASTER_PORT must be a port from 1 to 65535, got {port!r}; set another, or unset it"
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", int(port)))
        except OSError as error:
            yield f"MASTER_PORT {port} can't be used: {error.strerror}; set another, or unset it"


def free_bytes(folder: Path) -> int:
    """Free space where `folder` is, or will be."""
    while not folder.exists():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free


def _find_shape(options: TrainOptions, notes: list[str]) -> ModelShape | None:
    try:
        return find_shape(options)
    except ValueError as error:
        notes.append(f"memory is not estimated: {error}")
        return None


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0


def _check_nvme(options: TrainOptions) -> Iterator[str]:
    path = options.device.nvme_path
    if options.zero_stage != 3:
        yield f"offload to nvme needs ZeRO 3, got zero_stage {options.zero_stage}; give --zero-stage 3"
    if path is None:
        yield "offload to nvme needs a folder on a local NVMe disk; give --device.nvme-path"
    elif not path.is_dir() or not os.access(path, os.W_OK):
        yield f"device.nvme_path {path} is no folder that can be written; make it, or give another"


def _check_attention(options: TrainOptions, *, on_gpu: bool) -> Iterator[str]:
    if options.attention != "flash_attention_2":
        return
    if not on_gpu:
        yield "attention flash_attention_2 needs a GPU; give --attention auto"
    elif options.precision != "bf16":
        yield f"attention flash_attention_2 needs --precision bf16, got {options.precision}; or give --attention sdpa"
    elif find_spec("flash_attn") is None:
        yield "attention flash_attention_2 needs the package flash-attn; install it, or give --attention auto"
