"""Output folders of training runs, as the training writes them."""

import json
import math
import random
from pathlib import Path
from typing import Any

import yaml

from metamath_ray import __version__


def make_steps(num_steps: int, *, resumed_at: tuple[int, ...] = (), seed: int = 0) -> list[dict[str, Any]]:
    """Lines of `metrics.jsonl` of a small model on two cores, with the noise that real ones have."""
    draw = random.Random(seed)
    warm_up = max(1, round(0.03 * num_steps))
    return [_make_step(step, num_steps, warm_up, resumed_at, draw) for step in range(1, num_steps + 1)]


def _make_step(
    step: int, num_steps: int, warm_up: int, resumed_at: tuple[int, ...], draw: random.Random
) -> dict[str, Any]:
    rate = min(step / warm_up, 0.5 * (1 + math.cos(math.pi * max(0, step - warm_up) / num_steps)))
    seconds = draw.gauss(21.0, 0.8) * (1.6 if step in (1, *resumed_at) else 1)
    tokens = 8_192 - draw.randrange(150, 700)
    response_tokens = round(tokens * draw.gauss(0.61, 0.02))
    attempt = sum(step >= first for first in resumed_at)
    return {
        "step": step,
        "epoch": 3 * step / num_steps,
        "loss": 0.62 + 0.75 * math.exp(-step / 35) + draw.gauss(0, 0.03),
        "learning_rate": 2e-5 * rate,
        "grad_norm": 1.1 + 2.5 * math.exp(-step / 20) + abs(draw.gauss(0, 0.25)),
        "tokens": tokens,
        "response_tokens": response_tokens,
        "padded_tokens": 8_192,
        "seconds": seconds,
        "tokens_per_s": tokens / seconds,
        "response_tokens_per_s": response_tokens / seconds,
        "mfu": tokens * 6 * 135e6 / seconds / 600e9,
        "peak_memory_bytes": round((3.1 + 0.05 * attempt + min(step, 40) * 0.002) * 2**30),
        "time": 1_790_000_000.0 + 21 * step,
        "attempt": attempt,
        "rows_digest": "0123456789abcdef",
    }


CONFIG: dict[str, Any] = {
    "data": "runs/build",
    "model": "models/SmolLM2-135M-Instruct",
    "recipe": "smollm2-135m-cpu",
    "output": "runs/train",
    "limit_rows": None,
    "method": "full",
    "lora": {"rank": 96, "alpha": 16.0, "dropout": 0.05},
    "max_length": 512,
    "packing": True,
    "epochs": 3.0,
    "max_steps": None,
    "global_batch_size": 16,
    "micro_batch_size": 4,
    "learning_rate": 2e-5,
    "precision": "bf16",
    "num_workers": 2,
    "zero_stage": 2,
    "checkpoint": {"every_steps": 50, "keep": 2, "storage": None},
    "watchers": ["mlflow"],
    "seed": 0,
}

MANIFEST: dict[str, Any] = {
    "version": 1,
    "key": "5e" * 32,
    "tokenizer": "SmolLM2-135M-Instruct",
    "template": "alpaca",
    "max_length": 512,
    "packing": True,
    "num_rows": 7_431,
    "num_packs": 1_600,
    "num_tokens": 779_878,
    "num_response_tokens": 481_000,
    "real_token_share": 0.952,
    "dropped": {"blank_query": 3, "no_answer_tail": 0, "duplicate": 26, "too_long": 13},
    "seconds": 12.5,
}


def make_summary(steps: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    seconds = sum(one["seconds"] for one in steps) + 95
    response_tokens = sum(one["response_tokens"] for one in steps)
    return {
        "model": CONFIG["model"],
        "method": "full",
        "data_key": MANIFEST["key"],
        "rows": MANIFEST["num_rows"],
        "packs": MANIFEST["num_packs"],
        "steps": len(steps),
        "epochs": 3.0,
        "tokens": sum(one["tokens"] for one in steps),
        "response_tokens": response_tokens,
        "final_loss": sum(one["loss"] for one in steps[-10:]) / len(steps[-10:]),
        "seconds": seconds,
        "response_tokens_per_s": response_tokens / seconds,
        "mfu": 0.482,
        "peak_memory_bytes": max(one["peak_memory_bytes"] for one in steps),
        "num_workers": 2,
        "zero_stage": 2,
        "precision": "bf16",
        "attempts": steps[-1]["attempt"] + 1,
        "dropped": MANIFEST["dropped"],
        "output_model": "runs/train/model",
        "versions": {"deepspeed": "0.19.8", "ray": "2.60.0", "torch": "2.13.0", "transformers": "5.19.0"},
        "metamath_ray_version": __version__,
    } | changes


def write_output(folder: Path, steps: list[dict[str, Any]], *, finished: bool = True, **config: Any) -> Path:
    """The files that the page reads; `config` replaces options."""
    (folder / "data").mkdir(parents=True)
    for step in (200, 250):
        (folder / "checkpoints" / "train" / f"checkpoint_{step:06d}").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | config, sort_keys=False), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in steps), encoding="utf-8")
    (folder / "data" / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
    if finished:
        (folder / "summary.json").write_text(json.dumps(make_summary(steps)), encoding="utf-8")
    return folder
