"""A checkpoint holds tensors and plain values; one that holds code is refused, through DeepSpeed's loading too."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine
from deepspeed.runtime.fp16.loss_scaler import LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address

from metamath_ray.training._checkpoint import _weights_only


class Code:
    """What runs a command where it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path: Path) -> None:
    torch.save({"module": Code(tmp_path / "ran")}, tmp_path / "state.pt")
    with _weights_only(), pytest.raises(Exception, match="Weights only load failed"):
        TorchCheckpointEngine().load(str(tmp_path / "state.pt"))
    assert not (tmp_path / "ran").exists()
    TorchCheckpointEngine().load(str(tmp_path / "state.pt"))  # what DeepSpeed alone would have done
    assert (tmp_path / "ran").exists()


def test_deepspeeds_own_state_is_taken(tmp_path: Path) -> None:
    state = {
        "zero_stage": ZeroStageEnum.weights,
        "loss_scaler": LossScaler(1.0),
        "slices": fragment_address(3, 4),
        "weights": torch.ones(2),
    }
    torch.save(state, tmp_path / "state.pt")
    with _weights_only():
        loaded = TorchCheckpointEngine().load(str(tmp_path / "state.pt"))
    assert loaded["zero_stage"] is ZeroStageEnum.weights
    assert loaded["slices"] == fragment_address(3, 4)
    assert vars(loaded["loss_scaler"]) == vars(state["loss_scaler"])
