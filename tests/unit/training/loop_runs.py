"""Runs of the training loop in processes without Ray.

They are forked from one process that has imported torch and DeepSpeed: ten seconds of CPU less for each.
"""

import json
import multiprocessing
import os
import random
import socket
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import training_worker

from metamath_ray.step_metrics import StepMetrics, load_metrics
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._prepare import prepare_data

ROOT = Path(__file__).resolve().parents[3]
IMPORTED = ["pytest", "training_worker", "deepspeed", "peft", "transformers.models.llama.modeling_llama"]
"""What is imported once, before workers are forked."""
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


@dataclass(frozen=True)
class Worker:
    """A process of a run; what it prints is in `log`."""

    process: BaseProcess
    log: Path

    def is_alive(self) -> bool:
        return self.process.exitcode is None

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def finish(self, timeout_s: float = 280) -> tuple[int, str]:
        """Its exit status, and all that it printed."""
        self.process.join(timeout_s)
        assert self.process.exitcode is not None, f"it is not done after {timeout_s} s"
        return self.process.exitcode, self.log.read_text()


def start_workers(runs: list[dict[str, Any]], num_workers: int, folder: Path) -> list[Worker]:
    start = folder / f"start-{random.random()}"
    start.mkdir()
    (start / "runs.json").write_text(json.dumps(runs))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"WORLD_SIZE": str(num_workers), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    _run_fork_server()
    workers = []
    for rank in range(num_workers):
        log = start / f"worker-{rank}.log"
        environment = common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        process = multiprocessing.get_context("forkserver").Process(
            target=training_worker.main, args=(start / "runs.json", environment, log), daemon=True
        )
        process.start()
        workers.append(Worker(process, log))
    return workers


def _run_fork_server() -> None:
    """The process that workers are forked from; it ends with this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        patch.setenv("DS_ACCELERATOR", "cpu")  # DeepSpeed looks for one as it is imported
        forkserver.set_forkserver_preload(IMPORTED)
        forkserver.ensure_running()


def run_workers(runs: list[dict[str, Any]], num_workers: int, folder: Path) -> None:
    for worker in start_workers(runs, num_workers, folder):
        status, printed = worker.finish()
        assert status == 0, printed[-3000:]


def new_run(options: TrainOptions, output: Path, **extra: Any) -> dict[str, Any]:
    prepare_data(options, output / "data")
    return {"options": options.model_dump(mode="json"), "output": str(output), **extra}


def steps_of(run: dict[str, Any]) -> list[StepMetrics]:
    return load_metrics(Path(run["output"]) / "metrics.jsonl")


def losses_of(run: dict[str, Any]) -> list[float]:
    return [step.loss for step in steps_of(run)]
