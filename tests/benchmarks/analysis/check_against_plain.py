"""Diversity gain and perplexity of the job against plain NumPy and transformers, with a real model on real rows.

    head -100 gsm8k_train.jsonl > few.jsonl
    python tests/benchmarks/analysis/check_against_plain.py --data runs/metamathqa --base gsm8k:few.jsonl \
        --model MODEL_FOLDER [--rows 500]

The plain side takes one text at a time, in one process, and all pairs of vectors in float64. It prints the largest
differences; 1e-4 is asked.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from metamath_ray.dataset_rows import DatasetRow, read_dataset_rows
from metamath_ray.student_prompt import render_student_prompt

ROOT = Path(__file__).resolve().parents[3]


def main() -> None:
    """Run the job, then the plain computation on the rows that the job names, and print what differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=int, default=500)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out"
        seconds = run_job(args, output)
        gains = pq.read_table(output / "diversity.parquet").to_pylist()
        perplexities = {
            row["row_id"]: row for row in pq.read_table(output / "perplexity.parquet").to_pylist()
        }
        summary = json.loads((output / "summary.json").read_text())
    print(f"the job: {len(gains)} rows in {seconds:.0f} s", flush=True)
    base = read_dataset_rows(args.base)
    rows = {row.row_id: row for row in read_dataset_rows(args.data)}
    new = [rows[gain["row_id"]] for gain in gains]
    check_diversity([gain["squared_distance"] for gain in gains], new, base, args.model)
    print(f"its total gain: {summary['diversity']['total']['gain']:.6f}")
    check_perplexity([perplexities[row.row_id] for row in new], new, args.model)


def run_job(args: argparse.Namespace, output: Path) -> float:
    """The analyses as a user runs them; the seconds that they took."""
    started = time.monotonic()
    command = [
        sys.executable,
        str(ROOT / "jobs" / "analyze_data.py"),
        "--analyses",
        "diversity",
        "perplexity",
    ]
    command += ["--data", args.data, "--limit", str(args.rows), "--base", args.base]
    command += ["--output", str(output)]
    command += ["--embedder", f"model:{args.model}", "--language-model", f"model:{args.model}"]
    command += ["--embedding.cache", str(output.parent / "cache")]
    subprocess.run(command, check=True)
    return time.monotonic() - started


def check_diversity(
    found: Sequence[float], new: Sequence[DatasetRow], base: Sequence[DatasetRow], folder: str
) -> None:
    """Print how far each row's squared distance to its nearest base row is from the plain one's."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).float().eval()

    def vectors(rows: Sequence[DatasetRow]) -> Any:
        means = []
        for row in rows:
            encoded = tokenizer(f"{row.query}\n{row.response}", return_tensors="pt")
            with torch.inference_mode():
                means.append(model(**encoded).last_hidden_state[0].mean(dim=0).double().numpy())
        return np.array(means) / np.linalg.norm(means, axis=1, keepdims=True)

    of_base = vectors(base)
    wanted = np.array([((of_base - one) ** 2).sum(axis=1).min() for one in vectors(new)])
    difference = float(np.abs(np.array(found) - wanted).max())
    print(f"diversity gain: plain {wanted.mean():.6f}, rows differ by at most {difference:.1e}", flush=True)


def check_perplexity(found: Sequence[dict[str, Any]], rows: Sequence[DatasetRow], folder: str) -> None:
    """Print how far each row's perplexities are from the plain ones, relative to these."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).float().eval()
    worst = 0.0
    for one, row in zip(found, rows, strict=True):
        before = render_student_prompt(row.query)
        encoded = tokenizer(before + row.response, return_offsets_mapping=True)
        ids = torch.tensor([encoded.input_ids])
        with torch.inference_mode():
            log_probs = model(ids).logits[0, :-1].double().log_softmax(dim=-1)
        nll = -log_probs.gather(1, ids[0, 1:, None])[:, 0].numpy()
        num_response = sum(start >= len(before) for start, _ in encoded.offset_mapping)
        wanted = {"response_perplexity": nll[-num_response:].mean(), "text_perplexity": nll.mean()}
        worst = max(worst, *(abs(one[name] / np.exp(value) - 1) for name, value in wanted.items()))
    print(f"perplexity: {len(rows)} rows, relative difference at most {worst:.1e}")


if __name__ == "__main__":
    main()
