"""One worker of training runs without Ray; tests start as many of these processes as a run has workers.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29511 python tests/training_worker.py RUNS.json

RUNS.json holds a list of `{"options": {…}, "output": FOLDER}`, run one after another; packed rows lie in each
output's `data`. A run with `"forget_random_state": true` does not restore the generators, one with `"spoil_step": N`
learns at an infinite rate in the step before N, so that the loss of step N is no number. Worker 0 leaves a digest of
the final weights in `weights.txt`.
"""

import hashlib
import itertools
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from metamath_ray.training import _checkpoint, _loop
from metamath_ray.training._deepspeed import set_learning_rate
from metamath_ray.training._loop import train_loop
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._session import LocalSession


def digest_weights(weights: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def rate_setter(spoil_step: int) -> Callable[[Any, float], None]:
    """Sets the rate of one step after another as it is told, an infinite one in the step before `spoil_step`."""
    steps = itertools.count(2)
    return lambda engine, rate: set_learning_rate(engine, math.inf if next(steps) == spoil_step else rate)


def main(runs_file: str) -> None:
    rank, num_workers = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    restore_rng = _checkpoint.restore_rng
    for run in json.loads(Path(runs_file).read_text()):
        output = Path(run["output"])
        _checkpoint.restore_rng = (lambda state: None) if run.get("forget_random_state") else restore_rng
        _loop.set_learning_rate = rate_setter(run.get("spoil_step", 0))

        def export(weights: dict[str, torch.Tensor], output: Path = output) -> None:
            (output / "weights.txt").write_text(digest_weights(weights))

        session = LocalSession(output, rank=rank, num_workers=num_workers)
        train_loop(session, TrainOptions.model_validate(run["options"]), output, export)


if __name__ == "__main__":
    main(sys.argv[1])
