"""Throughput and texts of an evaluation through Ray Serve against offline `vllm.LLM.generate`, in one run.

    python tests/benchmarks/evaluation/bench_serving.py --model MODEL_FOLDER --benchmark gsm8k:test.jsonl --rounds 3
    python tests/benchmarks/evaluation/bench_serving.py --model MODEL_FOLDER --benchmark gsm8k:test.jsonl --num 100 --exact

Same prompts in the same order, same engine arguments, same environment; each in a process of its own, one after the
other, `--rounds` times, the other one first each time. Expected: through Serve at least 0.95 of offline (the median of
the rounds' ratios); grading and writing under 2 % of the whole; with `--exact` every text identical. Without it (bf16)
some texts differ, as the batches do: it says how many, and how many verdicts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from metamath_ray.evaluation import (
    EvaluationOptions,
    Prediction,
    compare_benchmark,
    engine_arguments,
    grade_predictions,
    load_all_predictions,
    plan_evaluation,
)
from metamath_ray.options import parse_options

ROOT = Path(__file__).resolve().parents[3]


def main() -> None:
    """Run both sides and print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--benchmark", default="bundled")
    parser.add_argument("--num", type=int, default=200)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--max-num-seqs", type=int, default=64)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--offline-into", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.offline_into:
        run_offline(args)
        return
    ratios = [one_round(args, serve_first=number % 2 == 0) for number in range(args.rounds)]
    print(f"serve / offline: {', '.join(f'{ratio:.3f}' for ratio in ratios)}; median {median(ratios):.3f}")


def one_round(args: argparse.Namespace, *, serve_first: bool) -> float:
    """Both sides, one after the other; the ratio of their rates."""
    sides = [through_serve, offline] if serve_first else [offline, through_serve]
    with tempfile.TemporaryDirectory() as folder:
        results = {side: side(args, Path(folder)) for side in sides}
    return report(results[offline], results[through_serve])


def options_of(args: argparse.Namespace) -> list[str]:
    """The evaluation's options, for both sides."""
    return [
        "--model", args.model, "--benchmarks", args.benchmark, "--limit", str(args.num),
        "--max-new-tokens.all", str(args.max_new_tokens), "--engine.max-num-seqs", str(args.max_num_seqs),
        *(["--exact"] if args.exact else []),
    ]  # fmt: skip


def offline(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """`run_offline` in a process of its own."""
    path = folder / "offline.json"
    subprocess.run([sys.executable, __file__, *sys.argv[1:], "--offline-into", str(path)], check=True)
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def run_offline(args: argparse.Namespace) -> None:
    """All prompts in one call of `LLM.generate`."""
    from metamath_ray.evaluation._application import place_engines, start_ray_for_serve
    from metamath_ray.evaluation._dispatch import order_requests
    from metamath_ray.evaluation._setup import allowed_cores, engine_variables

    options = parse_options(EvaluationOptions, options_of(args), prog="bench", description="")
    plan = plan_evaluation(options)
    start_ray_for_serve()
    setup = place_engines(options, model=plan.model, adapter="")
    import ray

    ray.shutdown()
    os.environ.update(engine_variables(setup, allowed_cores()))
    from vllm import LLM

    from metamath_ray.evaluation._vllm import sampling_params

    llm = LLM(**engine_arguments(setup))
    requests = order_requests([request for group in plan.requests.values() for request in group])
    started = time.monotonic()
    outputs = llm.generate(
        [request.prompt for request in requests],
        [sampling_params(request.sampling) for request in requests],
        use_tqdm=False,
    )
    seconds = time.monotonic() - started
    choices = {
        request.problem.id: output.outputs[0] for request, output in zip(requests, outputs, strict=True)
    }
    completions = {name: [choice.text, choice.finish_reason] for name, choice in choices.items()}
    tokens = sum(len(choice.token_ids) for choice in choices.values())
    result = {"seconds": seconds, "tokens": tokens, "completions": completions}
    Path(args.offline_into).write_text(json.dumps(result))


def through_serve(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The evaluation job as a user runs it."""
    output = folder / "serve"
    job = [sys.executable, str(ROOT / "jobs" / "evaluate_metamath.py")]
    subprocess.run([*job, *options_of(args), "--output", str(output)], check=True)
    summary = json.loads((output / "summary.json").read_text())
    (predictions,) = load_all_predictions(output).values()
    return {
        "seconds": summary["timings"]["asking"],
        "tokens": sum(one.completion_tokens for one in predictions),
        "predictions": predictions,
        "timings": summary["timings"],
        "whole": summary["seconds"],
    }


def report(offline: dict[str, Any], serve: dict[str, Any]) -> float:
    """Print both rates, the shares that differ, and what grading and writing cost; give the ratio of the rates."""
    rates = {
        name: side["tokens"] / side["seconds"] for name, side in (("offline", offline), ("serve", serve))
    }
    for name, side in (("offline", offline), ("serve", serve)):
        print(f"{name}: {side['tokens']} tokens in {side['seconds']:.1f} s, {rates[name]:.1f} tokens/s")
    report_difference(offline["completions"], serve["predictions"])
    timings = serve["timings"]
    beside = timings["grading"] + timings["writing"] + timings["tables"]
    print(
        f"grading and writing: {beside:.2f} s, {beside / serve['whole']:.2%} of {serve['whole']:.1f} s",
        flush=True,
    )
    return rates["serve"] / rates["offline"]


def report_difference(completions: dict[str, list[str]], predictions: Sequence[Prediction]) -> None:
    """Print how many texts and verdicts are not the same offline and through Serve."""
    others = []
    for one in predictions:
        text, finish_reason = completions[one.problem_id]
        others.append(replace(one, completion=text, finish_reason=finish_reason))
    made = compare_benchmark("offline against serve", grade_predictions(others), predictions)
    print(f"identical texts: {made.n - made.num_other_completions} of {made.n}")
    for rules, paired in (("fixed", made.fixed), ("paper", made.paper)):
        print(
            f"other verdicts by the {rules} rules: {paired.num_other_verdicts}, {len(paired.flips)} flipped"
        )


if __name__ == "__main__":
    main()
