"""`summary.json` of a training: what it learnt from, how long it took, what it reached."""

import math
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean
from typing import Any

import metamath_ray
from metamath_ray.step_metrics import load_metrics
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._packed import read_manifest

_PACKAGES = ("ray", "torch", "deepspeed", "transformers", "peft", "bitsandbytes")
_LAST_STEPS = 10


def summarise(options: TrainOptions, output: Path) -> dict[str, Any]:
    """The figures of the run in `output` as they stand, from its data's manifest and its metrics.

    `seconds` adds up the steps; what a crash repeated is counted once. `final_loss` is None where
    it is not finite. `mfu` is the mean over the steps' time.
    """
    manifest = read_manifest(output / "data")
    steps = load_metrics(output / "metrics.jsonl")
    seconds = sum(step.seconds for step in steps)
    responses = sum(step.response_tokens for step in steps)
    with_mfu = [step for step in steps if step.mfu is not None]
    last = [step.loss for step in steps[-_LAST_STEPS:]]
    final = fmean(last) if last else None
    return {
        "model": options.model,
        "method": options.method,
        "data_key": manifest.key,
        "rows": manifest.num_rows,
        "packs": manifest.num_packs,
        "steps": len(steps),
        "epochs": steps[-1].epoch if steps else 0.0,
        "tokens": sum(step.tokens for step in steps),
        "response_tokens": responses,
        "final_loss": final if final is not None and math.isfinite(final) else None,
        "seconds": seconds,
        "response_tokens_per_s": responses / seconds if seconds else 0.0,
        "mfu": sum((step.mfu or 0.0) * step.seconds for step in with_mfu) / seconds if with_mfu else None,
        "peak_memory_bytes": max((step.peak_memory_bytes for step in steps), default=0),
        "num_workers": options.num_workers,
        "zero_stage": options.zero_stage,
        "precision": options.precision,
        "attempts": steps[-1].attempt + 1 if steps else 0,
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
