"""The folders that a demo's stages leave, small and made up: what the page tells of, and what stand-in jobs copy."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from metamath_ray.evaluation import (
    Benchmark,
    Completion,
    EvaluationOptions,
    Prediction,
    Provenance,
    compare_evaluations,
    grade_predictions,
    plan_requests,
    predictions_path,
    score_benchmark,
    write_comparison,
    write_predictions,
    write_summary,
)
from metamath_ray.evaluation._predictions import ungraded_prediction
from metamath_ray.problems import Problem
from metamath_ray.reports import DemoFolders

HOSTILE = "</p><script>document.title='owned'</script><img src=x onerror=alert(1)> {{ 7 * 7 }}"
AUGMENTATIONS = {
    "answer_augmentation": "BUNDLED_AnsAug",
    "rephrasing": "BUNDLED_Rephrased",
    "self_verification": "BUNDLED_SV",
    "fobar": "BUNDLED_FOBAR",
}
BENCHMARKS = ("bundled", "bundled_backward")


def write_stages(root: Path, *, num_problems: int = 30, num_steps: int = 48) -> DemoFolders:
    """All stages below `root`: 4 right of 30 before, 10 after in each benchmark."""
    folders = DemoFolders(
        build=root / "build",
        before=root / "full" / "before",
        training=root / "full" / "training",
        after=root / "full" / "after",
        comparison=root / "full" / "comparison",
    )
    write_build(folders.build)
    write_training(folders.training, num_steps=num_steps)
    write_evaluation(folders.before, right=lambda n: n % 8 == 0, num_problems=num_problems)
    write_evaluation(folders.after, right=lambda n: n % 3 == 0, num_problems=num_problems)
    comparisons = compare_evaluations(folders.before, folders.after)
    write_comparison(comparisons, a=folders.before, b=folders.after, output=folders.comparison)
    (folders.comparison / "comparison.html").write_text("<!doctype html><title>comparison</title>")
    return folders


def write_build(folder: Path, *, num_seeds: int = 6) -> None:
    """Of each seed and augmentation two paths, the second one wrong; the first seed alone lacks a type."""
    candidates = [_path(*place) for place in _places(num_seeds)]
    rows = [_row(path) for path in candidates if path["verdict"] == "correct"]
    for name, table in (("candidates", candidates), ("dataset", rows)):
        (folder / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(table), folder / name / "part-00000.parquet")
    (folder / "summary.json").write_text(json.dumps(_build_summary(num_seeds, candidates, rows)))
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"seeds": ["bundled"], "teacher": {"model": "teacher"}})
    )
    (folder / "report.html").write_text("<!doctype html><title>build</title>")


def _places(num_seeds: int) -> list[tuple[int, str, int]]:
    return [
        (seed, augmentation, sample)
        for seed in range(num_seeds)
        for augmentation in AUGMENTATIONS
        for sample in (0, 1)
        if (seed, augmentation) != (0, "fobar")
    ]


def _path(seed: int, augmentation: str, sample: int) -> dict[str, Any]:
    right = sample == 0
    answer = str(seed + 40) if right else "7777"
    return {
        "question_id": f"bundled-train-{seed}/{augmentation}/0",
        "seed_id": f"bundled-train-{seed}",
        "source": "bundled",
        "augmentation": augmentation,
        "question": f"Seed {seed} asked by {augmentation}? {HOSTILE}",
        "expected": str(seed + 40),
        "sample_index": sample,
        "response": f"{HOSTILE}\n{seed} + 40 = {answer}.\nThe answer is: {answer}",
        "extracted": answer,
        "verdict": "correct" if right else "incorrect",
        "finish_reason": "stop",
        "prompt_tokens": 300,
        "completion_tokens": 60,
        "request_key": f"{seed:02d}{augmentation}{sample}",
        "teacher": "teacher",
        "failure": "",
    }


def _row(path: dict[str, Any]) -> dict[str, Any]:
    kept = {name: path[name] for name in ("response", "seed_id", "source", "augmentation", "expected")}
    return kept | {
        "type": AUGMENTATIONS[path["augmentation"]],
        "query": path["question"],
        "original_question": f"Original question of {path['seed_id']}. {HOSTILE}",
        "row_id": path["request_key"],
        "request_key": path["request_key"],
        "teacher": "teacher",
    }


def _build_summary(
    num_seeds: int, candidates: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    none = {"incorrect": 0, "no_answer": 0, "truncated": 0, "failed": 0}
    by_type = {}
    for augmentation, name in AUGMENTATIONS.items():
        paths = [path for path in candidates if path["augmentation"] == augmentation]
        right = sum(path["verdict"] == "correct" for path in paths)
        by_type[name] = {
            "questions": right,
            "paths": len(paths),
            "correct": right,
            **none,
            "incorrect": len(paths) - right,
            "selected": right,
            "target": None,
        }
    tokens = {"prompt_tokens": 9, "completion_tokens": 9, "usd": 0.0}
    return {
        "version": "0.1.0",
        "seeds": num_seeds,
        "seeds_by_source": {"bundled": num_seeds},
        "teacher": {"model": "teacher-1.5b", "calls_made": 0, "calls_reused": 9, "calls_failed": 0} | tokens,
        "ledger": {"replies": 9} | tokens,
        "by_type": by_type,
        "rows": len(rows),
        "dataset_sha256": "ab" * 32,
        "compat": "fixed",
        "seconds": 31.5,
    }


def write_training(folder: Path, *, num_steps: int) -> None:
    """A finished training."""
    steps = [_step(number, num_steps) for number in range(1, num_steps + 1)]
    (folder / "data").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"model": "runs/demo/SmolLM2-135M-Instruct", "max_steps": num_steps})
    )
    manifest = {"max_length": 512, "num_rows": 766, "num_packs": 300, "num_tokens": 150_000, "num_response_tokens": 66_000, "real_token_share": 0.96}  # fmt: skip
    (folder / "data" / "manifest.json").write_text(json.dumps(manifest))
    summary = {
        "steps": num_steps,
        "epochs": 0.64,
        "tokens": 2_000 * num_steps,
        "response_tokens": 900 * num_steps,
        "final_loss": steps[-1]["loss"],
        "seconds": 11.0 * num_steps,
        "response_tokens_per_s": 82.0,
        "mfu": None,
        "peak_memory_bytes": 6 * 2**30,
        "attempts": 1,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "report.html").write_text("<!doctype html><title>training</title>")


def _step(number: int, num_steps: int) -> dict[str, Any]:
    return {
        "step": number,
        "epoch": 0.64 * number / num_steps,
        "loss": 0.5 + 0.9 * math.exp(-number / 12) + 0.04 * math.sin(7 * number),
        "learning_rate": 1e-4,
        "grad_norm": 1.0,
        "tokens": 2_000,
        "response_tokens": 900,
        "padded_tokens": 2_048,
        "seconds": 11.0,
        "tokens_per_s": 180.0,
        "response_tokens_per_s": 82.0,
        "mfu": None,
        "peak_memory_bytes": 6 * 2**30,
        "time": 1_790_000_000.0 + 11 * number,
        "attempt": 0,
        "rows_digest": "0123456789abcdef",
    }


def write_evaluation(folder: Path, *, right: Any, num_problems: int) -> None:
    """An evaluation of both benchmarks; `right` says of a problem's number whether its completion is right."""
    scores = []
    for name in BENCHMARKS:
        predictions = _predictions(name, right, num_problems)
        write_predictions(predictions_path(folder, name), predictions, num_expected=num_problems)
        scores.append(score_benchmark(name, predictions))
    provenance = Provenance({"name": "m"}, {"name": "vllm"})
    write_summary(folder, scores, grader="fixed", provenance=provenance, seconds=61.0)
    (folder / "config.yaml").write_text(yaml.safe_dump({"limit": None}))
    (folder / "report.html").write_text("<!doctype html><title>evaluation</title>")


def _predictions(name: str, right: Any, num: int) -> tuple[Prediction, ...]:
    problems = tuple(
        Problem(f"{name}-test-{n}", name, "gsm", f"How much is {n}? {HOSTILE}", str(n), "")
        for n in range(num)
    )
    requests = plan_requests(
        Benchmark(name, problems, num),
        options=EvaluationOptions(model="m"),
        render=lambda problem: problem.question,
        identity={},
    )
    made = []
    for place, request in enumerate(requests):
        answer = f"The answer is: {request.problem.answer if right(place) else '7777'}"
        text, reason = (
            (HOSTILE, "length") if place % 5 == 1 and not right(place) else (f"{HOSTILE}\n{answer}", "stop")
        )
        made.append(
            ungraded_prediction(
                request, Completion(request.key, request.problem.id, 0, text, reason, 9, 9, 0.1)
            )
        )
    return grade_predictions(made)
