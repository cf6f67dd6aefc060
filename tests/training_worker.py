"""One worker of training runs without Ray; tests fork as many of these as a run has workers (`loop_runs`).

What they run is a list of `{"options": {…}, "output": FOLDER}`, one after another; packed rows lie in each output's
`data`. A run with `"forget_random_state": true` does not restore the generators, one with `"spoil_step": N` learns at
an infinite rate in the step before N, so that the loss of step N is no number, one with `"is_killed": true` waits in
its last step to be. Worker 0 leaves a digest of the final weights in `weights.txt`.
"""

import hashlib
import itertools
import json
import math
import os
import threading
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


def rate_setter(run: dict[str, Any]) -> Callable[[Any, float], None]:
    """Sets the rate of one step after another as it is told, but for what the run asks for."""
    steps = itertools.count(1)

    def set_rate(engine: Any, rate: float) -> None:
        step = next(steps)
        if run.get("is_killed") and step == run["options"]["max_steps"]:
            threading.Event().wait()
        set_learning_rate(engine, math.inf if step + 1 == run.get("spoil_step") else rate)

    return set_rate


def main(runs_file: Path, environment: dict[str, str], log: Path) -> None:
    """Run all of `runs_file`; what is printed, by torch's own threads too, goes to `log`."""
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ |= environment
    restore_rng = _checkpoint.restore_rng
    for run in json.loads(runs_file.read_text()):
        _checkpoint.restore_rng = (lambda state: None) if run.get("forget_random_state") else restore_rng
        _loop.set_learning_rate = rate_setter(run)
        train(TrainOptions.model_validate(run["options"]), Path(run["output"]))


def train(options: TrainOptions, output: Path) -> None:
    def export(weights: dict[str, torch.Tensor]) -> None:
        (output / "weights.txt").write_text(digest_weights(weights))

    rank, num_workers = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    train_loop(LocalSession(output, rank=rank, num_workers=num_workers), options, output, export)
