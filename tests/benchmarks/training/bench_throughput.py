"""Response tokens learnt a second: this loop, a bare PyTorch loop, HF Trainer padded, TRL packed; side by side.

    METAMATH_RAY_STUDENT=FOLDER python tests/benchmarks/training/bench_throughput.py --data gsm8k:gsm8k_train.jsonl

Each loop runs in a process of its own on the same rows, in fp32 on all cores, in turns; the first step is not counted.
The ceiling is this machine's matrix product (4096 x 4096), measured in the same run. Wants a quiet machine and 10 min.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

PACKS_A_STEP, MICRO_BATCH, MAX_LENGTH, RATE = 8, 4, 512, 1e-5
ROWS_A_STEP, MICRO_ROWS = 18, 9  # about as many rows as 8 packs of GSM8K hold
LOOPS = ("ours", "bare", "hf_trainer", "trl")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default=os.environ.get("METAMATH_RAY_STUDENT"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--loop", choices=LOOPS)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.loop:
        print("RESULT " + json.dumps(run_loop(given)))
        return
    ceiling = measure_ceiling()
    with tempfile.TemporaryDirectory() as folder:
        prepare(given, Path(folder))
        results: dict[str, list[dict[str, float]]] = {loop: [] for loop in LOOPS}
        for _ in range(given.rounds):
            for loop in LOOPS:
                results[loop].append(in_process(given, loop, folder))
                print(loop, results[loop][-1], flush=True)
    print_table(results, ceiling)


def options(given: argparse.Namespace) -> Any:
    from metamath_ray.training import TrainOptions

    return TrainOptions(
        data=given.data,
        model=given.model,
        limit_rows=400,
        max_length=MAX_LENGTH,
        global_batch_size=PACKS_A_STEP,
        micro_batch_size=MICRO_BATCH,
        max_steps=given.steps + 1,
        learning_rate=RATE,
        warmup_ratio=0.0,
        schedule="constant",
        precision="fp32",
        zero_stage=0,
    )


def prepare(given: argparse.Namespace, folder: Path) -> None:
    from metamath_ray.training._prepare import prepare_data

    prepare_data(options(given), folder / "data")


def in_process(given: argparse.Namespace, loop: str, folder: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--data", given.data, "--model", given.model]
    command += ["--loop", loop, "--folder", folder, "--steps", str(given.steps)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"{loop} failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(lines[0].removeprefix("RESULT "))
    return result


def run_loop(given: argparse.Namespace) -> dict[str, float]:
    torch.set_num_threads(os.cpu_count() or 1)
    runs: dict[str, Callable[[argparse.Namespace], list[tuple[int, float, int]]]] = {
        "ours": run_ours,
        "bare": run_bare,
        "hf_trainer": run_hf_trainer,
        "trl": run_trl,
    }
    steps = runs[given.loop](given)[1:]
    seconds = sum(one[1] for one in steps)
    return {
        "response_tokens_per_s": sum(one[0] for one in steps) / seconds,
        "tokens_per_s": sum(one[2] for one in steps) / seconds,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def run_ours(given: argparse.Namespace) -> list[tuple[int, float, int]]:
    from metamath_ray.training._loop import open_worker, train_step
    from metamath_ray.training._session import LocalSession

    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29517",
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
    }
    worker = open_worker(LocalSession(given.folder), options(given), given.folder)
    done = [train_step(worker, step) for step in range(given.steps + 1)]
    return [(step.response_tokens, step.seconds, step.tokens) for step in done]


def run_bare(given: argparse.Namespace) -> list[tuple[int, float, int]]:
    from torch.nn import functional
    from transformers import AutoModelForCausalLM

    from metamath_ray.training._batches import collate
    from metamath_ray.training._packed import PackedData
    from metamath_ray.training._schedule import StepPlan

    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    data = PackedData.open(given.folder / "data")
    plan, done = StepPlan.make(len(data), options(given)), []
    for step in range(given.steps + 1):
        started, indices = time.perf_counter(), plan.packs_of_step(step)
        targets = int(data.response_tokens[indices].sum())
        for start in range(0, PACKS_A_STEP, MICRO_BATCH):
            batch = collate([data[int(i)] for i in indices[start : start + MICRO_BATCH]], pad_token_id=0)
            logits = model(input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False).logits
            loss = functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")
            (loss / targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens = sum(len(data[int(i)].input_ids) for i in indices)
        done.append((targets, time.perf_counter() - started, tokens))
    return done


def run_hf_trainer(given: argparse.Namespace) -> list[tuple[int, float, int]]:
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32)
    rows = [
        {"input_ids": prompt + response, "labels": [-100] * len(prompt) + response}
        for prompt, response in tokenised_rows(given, tokenizer)
    ]

    def pad(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in batch)

        def filled(name: str, value: int) -> torch.Tensor:
            return torch.tensor([row[name] + [value] * (width - len(row[name])) for row in batch])

        mask = torch.tensor([[1] * len(r["input_ids"]) + [0] * (width - len(r["input_ids"])) for r in batch])
        return {"input_ids": filled("input_ids", 0), "labels": filled("labels", -100), "attention_mask": mask}

    meter = step_meter()
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments(given, ROWS_A_STEP, MICRO_ROWS)),
        train_dataset=rows,
        data_collator=meter.counting(pad),
        callbacks=[meter],
    )
    trainer.train()
    return meter.done


def run_trl(given: argparse.Namespace) -> list[tuple[int, float, int]]:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32)
    rows = [
        {"input_ids": prompt + response, "completion_mask": [0] * len(prompt) + [1] * len(response)}
        for prompt, response in tokenised_rows(given, tokenizer)
    ]
    meter = step_meter()
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            **arguments(given, PACKS_A_STEP, MICRO_BATCH),
            max_length=MAX_LENGTH,
            packing=True,
            completion_only_loss=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[meter],
    )
    trainer.data_collator = meter.counting(trainer.data_collator)
    trainer.train()
    return meter.done


def arguments(given: argparse.Namespace, batch: int, micro_batch: int) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": batch // micro_batch,
        "max_steps": given.steps + 1,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1000,
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_num_workers": 0,
        "remove_unused_columns": False,
    }


def tokenised_rows(given: argparse.Namespace, tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    from metamath_ray.training._rows import load_rows
    from metamath_ray.training._template import render_prompt

    rows = load_rows(given.data, limit=400).rows
    prompts = tokenizer([render_prompt(row.query) for row in rows])["input_ids"]
    responses = tokenizer([row.response for row in rows])["input_ids"]
    return [
        (prompt, [*response, tokenizer.eos_token_id])
        for prompt, response in zip(prompts, responses, strict=True)
    ]


def step_meter() -> Any:
    """A callback that times optimizer steps, and counts what the collator gave them."""
    from transformers import TrainerCallback

    class Meter(TrainerCallback):
        def __init__(self) -> None:
            self.done: list[tuple[int, float, int]] = []
            self.batches: list[tuple[int, int]] = []
            self.started = 0.0

        def counting(
            self, collate: Callable[[Any], dict[str, torch.Tensor]]
        ) -> Callable[[Any], dict[str, torch.Tensor]]:
            def counted(rows: Any) -> dict[str, torch.Tensor]:
                batch = collate(rows)
                real = (
                    batch["attention_mask"].sum() if "attention_mask" in batch else batch["input_ids"].numel()
                )
                self.batches.append((int((batch["labels"] != -100).sum()), int(real)))
                return batch

            return counted

        def on_step_begin(self, *unused: Any, **more: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, args: Any, *unused: Any, **more: Any) -> None:
            size = args.gradient_accumulation_steps
            taken = self.batches[len(self.done) * size : (len(self.done) + 1) * size]
            seconds = time.perf_counter() - self.started
            self.done.append((sum(b[0] for b in taken), seconds, sum(b[1] for b in taken)))

    return Meter()


def measure_ceiling() -> dict[str, float]:
    torch.set_num_threads(os.cpu_count() or 1)
    ceiling = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(2, 4096, 4096).to(dtype)
        times = []
        for _ in range(6):
            started = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - started)
        ceiling[str(dtype).removeprefix("torch.")] = 2 * 4096**3 / min(times)
    return ceiling


def print_table(results: dict[str, list[dict[str, float]]], ceiling: dict[str, float]) -> None:
    names = {name: f"{value / 1e9:.0f} GFLOP/s" for name, value in ceiling.items()}
    print(f"matrix product on this machine: {names}")
    print(f"{'loop':12} {'response tok/s':>15} {'all tok/s':>10} {'peak GiB':>9} {'ours/this':>10}")
    best = {loop: max(runs, key=lambda run: run["response_tokens_per_s"]) for loop, runs in results.items()}
    ours = best["ours"]["response_tokens_per_s"]
    for loop, run in best.items():
        rate = run["response_tokens_per_s"]
        print(
            f"{loop:12} {rate:15.1f} {run['tokens_per_s']:10.1f} {run['peak_gib']:9.2f} {ours / rate:10.2f}"
        )


if __name__ == "__main__":
    main()
