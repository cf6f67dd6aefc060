"""Runs of the training loop in processes without Ray."""

import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from metamath_ray.step_metrics import StepMetrics, load_metrics
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._prepare import prepare_data

ROOT = Path(__file__).resolve().parents[3]
NUM_STEPS = 20


def options_for(model: Path, rows: Path, **changes: Any) -> TrainOptions:
    values: dict[str, Any] = {
        "data": str(rows),
        "model": str(model),
        "max_length": 192,
        "global_batch_size": 8,
        "micro_batch_size": 2,
        "max_steps": NUM_STEPS,
        "learning_rate": 3e-3,
        "warmup_ratio": 0.1,
        "precision": "fp32",
        "zero_stage": 0,
        "device": {"kind": "cpu", "cpus_per_worker": 1},
        "checkpoint": {"every_steps": 5},
    }
    return TrainOptions.model_validate(values | changes)


def start_workers(runs: list[dict[str, Any]], num_workers: int, folder: Path) -> list[subprocess.Popen[str]]:
    runs_file = folder / f"runs-{random.random()}.json"
    runs_file.write_text(json.dumps(runs))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"WORLD_SIZE": str(num_workers), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "training_worker.py"), str(runs_file)],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(num_workers)
    ]


def run_workers(runs: list[dict[str, Any]], num_workers: int, folder: Path) -> None:
    workers = start_workers(runs, num_workers, folder)
    for worker in workers:
        output, _ = worker.communicate(timeout=280)
        assert worker.returncode == 0, output[-3000:]


def new_run(options: TrainOptions, output: Path, **extra: Any) -> dict[str, Any]:
    prepare_data(options, output / "data")
    return {"options": options.model_dump(mode="json"), "output": str(output), **extra}


def steps_of(run: dict[str, Any]) -> list[StepMetrics]:
    return load_metrics(Path(run["output"]) / "metrics.jsonl")


def losses_of(run: dict[str, Any]) -> list[float]:
    return [step.loss for step in steps_of(run)]
