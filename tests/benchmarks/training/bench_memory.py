"""Measures the peak memory of one training step on CPU, beside what the estimator says.

    METAMATH_RAY_STUDENT=FOLDER .venv/bin/python tests/benchmarks/training/bench_memory.py [SETTING ...]

Each setting, `PRECISION:MICRO_BATCH:LENGTH[:zN][:ckpt][:eager]`, trains two steps of two micro-batches each (the
first one short) through the real DeepSpeed engine, loss, model and attention, in a process of its own (one worker,
which keeps freed memory as in a run), and reads the kernel's high-water mark of resident memory. Packs of two
documents; half of each is prompt. What was resident before the model was made (interpreter, libraries) is not
counted. A whole run takes more: batches of many sizes leave more gaps.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MIB = 2**20
SETTINGS = (
    "fp32:1:256", "fp32:2:256", "fp32:2:512", "fp32:4:512:ckpt", "fp32:1:512:eager", "fp32:1:64:z0",
    "fp32:2:512:z0", "fp32:4:512:z0", "fp32:1:64:z3", "bf16:1:64", "bf16:1:256", "bf16:1:512", "bf16:2:512:ckpt", "bf16:1:64:z0",
    "bf16:1:256:z0", "bf16:1:64:z1", "bf16:1:64:z3",
)  # fmt: skip


def parse_setting(setting: str, model: str) -> dict[str, Any]:
    """The training options that a setting stands for."""
    precision, micro_batch, length, *marks = setting.split(":")
    zero = [int(mark[1:]) for mark in marks if mark[0] == "z"]
    return {
        "model": model,
        "precision": precision,
        "micro_batch_size": int(micro_batch),
        "global_batch_size": 2 * int(micro_batch),
        "max_length": int(length),
        "gradient_checkpointing": "ckpt" in marks,
        "attention": "eager" if "eager" in marks else "documents",
        "zero_stage": zero[0] if zero else 2,
        "device": {"kind": "cpu"},
    }


def measure(values: dict[str, Any]) -> dict[str, float]:
    """Peak bytes over the start, and seconds a step; call it in a process of its own."""
    import torch

    from metamath_ray.training import TrainOptions
    from metamath_ray.training._deepspeed import deepspeed_config, open_engine
    from metamath_ray.training._device import open_device
    from metamath_ray.training._loss import ResponseLoss
    from metamath_ray.training._model import load_student

    options = TrainOptions.model_validate(values)
    device = open_device(options.device, local_rank=0, num_threads=int(os.environ.get("THREADS", "1")))
    torch.distributed.init_process_group("gloo", init_method="tcp://127.0.0.1:0", rank=0, world_size=1)
    import deepspeed  # noqa: F401  # loaded before the mark is set back
    import transformers.models.llama.modeling_llama  # noqa: F401

    torch.randn(64, 64).requires_grad_().matmul(torch.randn(64, 64)).sum().backward()
    before = memory()["VmRSS"]
    model = load_student(options, device="cpu", deepspeed_config=deepspeed_config(options, device))
    loss_model = ResponseLoss(model, chunk_tokens=options.loss_chunk_tokens)
    engine = open_engine(loss_model, options, device)
    marks = {}
    for length in (32, options.max_length):  # the first step makes the optimizer's states
        for _ in range(options.accumulation_steps):
            reset_peak()
            started = time.monotonic()
            engine.backward(engine(*make_batch(options, length)))
            marks["backward"] = peak() - before
            reset_peak()
            engine.step()
        marks |= {"step": peak() - before, "seconds": time.monotonic() - started}
    return marks | {"states": memory()["VmRSS"] - before, "peak": max(marks["backward"], marks["step"])}


def reset_peak() -> None:
    """Let the kernel's high-water mark start again from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """The high-water mark in bytes."""
    return memory()["VmHWM"]


def make_batch(options: Any, length: int) -> tuple[Any, Any, Any]:
    """Packs of two documents of random tokens, each half prompt."""
    import torch

    from metamath_ray.training._attention import NEEDS_FLAT

    half = length // 2
    input_ids = torch.randint(10, 40_000, (options.micro_batch_size, length))
    position_ids = torch.arange(half).repeat(2).expand_as(input_ids).contiguous()
    targets = torch.where(position_ids < half // 2, -100, input_ids)
    batch = (input_ids, position_ids, targets)
    if options.attention in NEEDS_FLAT:
        return tuple(tensor.reshape(1, -1) for tensor in batch)  # type: ignore[return-value]
    return batch


def memory() -> dict[str, int]:
    """VmRSS and VmHWM of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in lines
        if line.startswith(("VmRSS", "VmHWM"))
    }


def main(argv: list[str]) -> None:
    """Print a table."""
    if argv[:1] == ["--one"]:
        print(json.dumps(measure(json.loads(argv[1]))))
        return
    model = os.environ["METAMATH_RAY_STUDENT"]
    for setting in argv or SETTINGS:
        values = parse_setting(setting, model)
        command = [sys.executable, __file__, "--one", json.dumps(values)]
        environment = os.environ | {"LOCAL_RANK": "0"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            print(setting, "failed", done.stderr[-1500:])
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        expected = predict(values)
        print(
            f"{setting:20} backward {found['backward'] / MIB:6,.0f}  step {found['step'] / MIB:6,.0f}  peak "
            f"{found['peak'] / MIB:6,.0f} MiB  predicted {expected / MIB:6,.0f}  ratio {expected / found['peak']:.2f}",
            flush=True,
        )


def predict(values: dict[str, Any]) -> float:
    """What the estimator says of a setting for SmolLM2-135M, without the process itself."""
    from metamath_ray.training import TrainOptions
    from metamath_ray.training._data_size import DataSize
    from metamath_ray.training._estimate import estimate
    from metamath_ray.training._recipes import load_recipe

    shape = load_recipe("smollm2-135m-cpu").model
    assert shape is not None
    data = DataSize(
        rows=200, tokens=100_000, packs=100, response_tokens=50_000, document_length=values["max_length"] / 2
    )
    needed = estimate(TrainOptions.model_validate(values), shape, data=data)
    return needed.memory_bytes - needed.context


if __name__ == "__main__":
    main(sys.argv[1:])
