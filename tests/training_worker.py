"""One worker of training runs without Ray; tests start as many of these processes as a run has workers.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29511 python tests/training_worker.py RUNS.json

RUNS.json holds a list of `{"options": {…}, "output": FOLDER}`, run one after another; packed rows lie in each
output's `data`. A run with `"forget_random_state": true` does not restore the generators. Worker 0 leaves a digest of
the final weights in `weights.txt`.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import torch

from metamath_ray.training import _checkpoint
from metamath_ray.training._loop import train_loop
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._session import LocalSession


def digest_weights(weights: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def main(runs_file: str) -> None:
    rank, num_workers = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    restore_rng = _checkpoint.restore_rng
    for run in json.loads(Path(runs_file).read_text()):
        output = Path(run["output"])
        _checkpoint.restore_rng = (lambda state: None) if run.get("forget_random_state") else restore_rng

        def export(weights: dict[str, torch.Tensor], output: Path = output) -> None:
            (output / "weights.txt").write_text(digest_weights(weights))

        session = LocalSession(output, rank=rank, num_workers=num_workers)
        train_loop(session, TrainOptions.model_validate(run["options"]), output, export)


if __name__ == "__main__":
    main(sys.argv[1])
