import json
from pathlib import Path
from typing import Any

import pytest
import torch

from metamath_ray.training import TrainOptions, _optimizer
from metamath_ray.training._deepspeed import deepspeed_config
from metamath_ray.training._device import Device
from metamath_ray.training._optimizer import (
    build_hindrance,
    check_build,
    check_optimizer,
    choose_optimizer,
)
from metamath_ray.training._options import DeviceOptions

CPU = Device("cpu", torch.device("cpu"))
GPU = Device("gpu", torch.device("cuda", 0))


def options(**device: Any) -> TrainOptions:
    return TrainOptions.model_validate({"device": device, "zero_stage": 2})


@pytest.fixture
def hindrance(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(_optimizer, "build_hindrance", lambda: request.param)


can_build = pytest.mark.parametrize("hindrance", [None], indirect=True, ids=["can-build"])
cannot_build = pytest.mark.parametrize("hindrance", ["no nvcc"], indirect=True, ids=["cannot-build"])


@can_build
@pytest.mark.usefixtures("hindrance")
def test_auto_is_deepspeeds_on_gpus_that_can_build_it_and_never_on_cpu() -> None:
    assert choose_optimizer(options(), device="gpu") == "deepspeed"
    assert choose_optimizer(options(), device="cpu") == "torch"
    assert choose_optimizer(options(optimizer="torch"), device="gpu") == "torch"


@cannot_build
@pytest.mark.usefixtures("hindrance")
def test_auto_is_pytorchs_where_nothing_can_be_built() -> None:
    assert choose_optimizer(options(), device="gpu") == "torch"
    assert list(check_build(options(), on_gpu=True)) == []


@cannot_build
@pytest.mark.usefixtures("hindrance")
@pytest.mark.parametrize(
    ("device", "cure"),
    [
        pytest.param({"optimizer": "deepspeed"}, "give --device.optimizer auto", id="asked-for"),
        pytest.param(
            {"offload_optimizer": "cpu"}, "leave device.offload_optimizer at none", id="needed-by-offload"
        ),
    ],
)
def test_an_optimizer_that_cannot_be_built_is_one_line(device: dict[str, Any], cure: str) -> None:
    (line,) = check_build(options(**device), on_gpu=True)
    assert line == f"DeepSpeed's Adam can't be compiled: no nvcc; install that, or {cure}"


@pytest.mark.parametrize(
    ("device", "on_gpu", "complaint"),
    [
        pytest.param({"optimizer": "deepspeed"}, False, "needs a GPU", id="on-cpu"),
        pytest.param(
            {"optimizer": "torch", "offload_optimizer": "cpu"}, True, "needs DeepSpeed's Adam", id="offload"
        ),
    ],
)
def test_an_optimizer_that_does_not_fit_is_one_line(
    device: dict[str, Any], on_gpu: bool, complaint: str
) -> None:
    (line,) = check_optimizer(options(**device), on_gpu=on_gpu)
    assert complaint in line


@pytest.mark.parametrize(
    ("device", "kind", "extra"),
    [
        pytest.param(CPU, "auto", {"torch_adam": True}, id="cpu"),
        pytest.param(GPU, "torch", {"torch_adam": True, "fused": True}, id="gpu-torch"),
        pytest.param(GPU, "deepspeed", {}, id="gpu-deepspeed"),
    ],
)
def test_deepspeed_is_told_which_adam_to_make(device: Device, kind: str, extra: dict[str, bool]) -> None:
    common = {"lr": 0.0, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}
    assert deepspeed_config(options(optimizer=kind), device)["optimizer"] == {
        "type": "AdamW",
        "params": common | extra,
    }


@pytest.mark.parametrize(
    ("cuda", "toolkit", "has_ninja", "found"),
    [
        ("12.9", "12.9", True, None),
        ("12.9", "12.4", True, None),
        ("13.0", "13.0", True, None),
        ("13.0", "13.1", True, "the CUDA toolkit is 13.1, PyTorch's is 13.0"),
        ("12.9", "11.8", True, "the CUDA toolkit is 11.8, PyTorch's is 12.9"),
        ("12.9", None, True, "no CUDA toolkit 12.9 with nvcc (CUDA_HOME is /cuda)"),
        ("12.9", "12.9", False, "no ninja"),
        (None, "12.9", True, "this PyTorch is built without CUDA"),
    ],
)
def test_what_hinders_compiling_is_named(
    monkeypatch: pytest.MonkeyPatch, cuda: str | None, toolkit: str | None, has_ninja: bool, found: str | None
) -> None:
    from torch.utils import cpp_extension

    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", "/cuda")
    monkeypatch.setattr(cpp_extension, "is_ninja_available", lambda: has_ninja)
    monkeypatch.setattr(_optimizer, "_toolkit_version", lambda cuda_home: toolkit)
    assert build_hindrance() == found


def test_buffers_for_offload_to_nvme_hold_the_largest_matrix(tmp_path: Path) -> None:
    config = {"model_type": "llama", "vocab_size": 128_256, "hidden_size": 4096}
    (tmp_path / "config.json").write_text(json.dumps(config))

    def buffer_size(num_workers: int) -> int:
        asked = TrainOptions(
            model=str(tmp_path),
            zero_stage=3,
            num_workers=num_workers,
            device=DeviceOptions(offload_parameters="nvme", nvme_path=tmp_path),
        )
        size: int = deepspeed_config(asked, GPU)["zero_optimization"]["offload_param"]["buffer_size"]
        return size

    assert buffer_size(1) == 128_256 * 4096, "DeepSpeed's own 100,000,000 is too small"
    assert buffer_size(8) == 100_000_000
