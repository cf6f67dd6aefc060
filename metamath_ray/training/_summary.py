"""`summary.json` of a training: what it learnt from, how long it took, what it reached."""

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import metamath_ray
from metamath_ray.step_metrics import load_metrics, sum_steps
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._packed import read_manifest

_PACKAGES = ("ray", "torch", "deepspeed", "transformers", "peft", "bitsandbytes")


def summarise(options: TrainOptions, output: Path) -> dict[str, Any]:
    """The figures of the run in `output` as they stand, from its data's manifest and its metrics."""
    manifest = read_manifest(output / "data")
    return {
        "model": options.model,
        "method": options.method,
        "data_key": manifest.key,
        "rows": manifest.num_rows,
        "packs": manifest.num_packs,
        **asdict(sum_steps(load_metrics(output / "metrics.jsonl"))),
        "num_workers": options.num_workers,
        "zero_stage": options.zero_stage,
        "precision": options.precision,
        "dropped": manifest.dropped,
        "output_model": str(output / "model"),
        "versions": {name: _version(name) for name in _PACKAGES},
        "metamath_ray_version": metamath_ray.__version__,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
