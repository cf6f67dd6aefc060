"""`jobs/train_metamath.py` as tests start it, with the tiny student and rows made on the spot."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from metamath_ray.step_metrics import load_metrics

ROOT = Path(__file__).resolve().parents[1]
JOB = [sys.executable, str(ROOT / "jobs" / "train_metamath.py")]
EVERY_STEPS = 4
PATIENCE_S = 280


def save_rows(path: Path) -> Path:
    with path.open("w") as file:
        for a in range(4, 160):
            row = {
                "query": f"What is {a} plus {a + 3}?",
                "response": f"{a} + {a + 3} = {2 * a + 3}.\nThe answer is: {2 * a + 3}",
            }
            file.write(json.dumps(row) + "\n")
    return path


def arguments(model: Path, rows: Path, output: Path, *more: str) -> list[str]:
    values: dict[str, Any] = {
        "data": rows,
        "model": model,
        "output": output,
        "max-length": 192,
        "global-batch-size": 4,
        "micro-batch-size": 1,
        "max-steps": 30,
        "learning-rate": 0.001,
        "precision": "fp32",
        "zero-stage": 2,
        "num-workers": 2,
        "device.cpus-per-worker": 1,
        "checkpoint.every-steps": EVERY_STEPS,
    }
    return [*JOB, *(word for name, value in values.items() for word in (f"--{name}", str(value))), *more]


def start(command: list[str], tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
    )


def finish(command: list[str], tmp_path: Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def wait_for_step(output: Path, step: int, job: subprocess.Popen[str]) -> None:
    while len(load_metrics(output / "metrics.jsonl")) < step:
        assert job.poll() is None, job.communicate()
        time.sleep(0.02)  # for training to get there; the test's time limit ends the wait


def training_workers(output: Path) -> list[int]:
    """The processes that hold this run's packed rows mapped: its training workers."""
    mapped = str(output / "data" / "packs.arrow")
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                maps, name = (entry / "maps").read_text(), (entry / "cmdline").read_text()
            except OSError:
                continue
            if mapped in maps and "RayTrainWorker" in name:
                pids.append(int(entry.name))
    return pids
