"""Throughput and texts of an evaluation through Ray Serve against offline `vllm.LLM.generate`, in one run.

    python tests/benchmarks/evaluation/bench_serving.py --model MODEL_FOLDER --benchmark gsm8k:test.jsonl --num 200
    python tests/benchmarks/evaluation/bench_serving.py --model MODEL_FOLDER --benchmark gsm8k:test.jsonl --num 100 --exact

Same prompts in the same order, same engine arguments, same environment; each in a process of its own, one after the
other. Expected: through Serve at least 0.95 of offline; grading and writing under 2 % of the whole; with `--exact`
every text identical.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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
    parser.add_argument("--order", choices=("offline-first", "serve-first"), default="offline-first")
    parser.add_argument("--offline-into", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.offline_into:
        run_offline(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        sides = [lambda: offline(args, Path(folder)), lambda: through_serve(args, Path(folder))]
        if args.order == "serve-first":
            sides.reverse()
        results: dict[str, Any] = {}
        for side in sides:
            results |= side()
    report(results["offline"], results["serve"])


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
    return {"offline": json.loads(path.read_text())}


def run_offline(args: argparse.Namespace) -> None:
    """All prompts in one call of `LLM.generate`."""
    from metamath_ray.evaluation import EvaluationOptions, engine_arguments, plan_evaluation
    from metamath_ray.evaluation._application import place_engines, start_ray
    from metamath_ray.evaluation._dispatch import order_requests
    from metamath_ray.evaluation._setup import allowed_cores, engine_variables
    from metamath_ray.options import parse_options

    options = parse_options(EvaluationOptions, options_of(args), prog="bench", description="")
    plan = plan_evaluation(options)
    start_ray()
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
    texts = {
        request.problem.id: output.outputs[0].text for request, output in zip(requests, outputs, strict=True)
    }
    tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    Path(args.offline_into).write_text(json.dumps({"seconds": seconds, "tokens": tokens, "texts": texts}))


def through_serve(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The evaluation job as a user runs it."""
    from metamath_ray.evaluation import load_all_predictions

    output = folder / "serve"
    job = [sys.executable, str(ROOT / "jobs" / "evaluate_metamath.py")]
    subprocess.run([*job, *options_of(args), "--output", str(output)], check=True)
    timings = json.loads((output / "summary.json").read_text())["timings"]
    predictions = [one for group in load_all_predictions(output).values() for one in group]
    texts = {one.problem_id: one.completion for one in predictions}
    tokens = sum(one.completion_tokens for one in predictions)
    return {"serve": {"seconds": timings["asking"], "tokens": tokens, "texts": texts, "timings": timings}}


def report(offline: dict[str, Any], serve: dict[str, Any]) -> None:
    """Print both rates, their ratio, the share of equal texts, and what grading and writing cost."""
    rates = {
        name: side["tokens"] / side["seconds"] for name, side in (("offline", offline), ("serve", serve))
    }
    same = sum(serve["texts"][name] == text for name, text in offline["texts"].items())
    timings = serve["timings"]
    beside = timings["grading"] + timings["writing"] + timings["tables"]
    whole = timings["starting"] + timings["asking"]
    for name, side in (("offline", offline), ("serve", serve)):
        print(f"{name}: {side['tokens']} tokens in {side['seconds']:.1f} s, {rates[name]:.1f} tokens/s")
    print(f"serve / offline: {rates['serve'] / rates['offline']:.3f}")
    print(f"identical texts: {same} of {len(offline['texts'])}")
    print(f"grading and writing: {beside:.2f} s, {beside / whole:.2%} of {whole:.1f} s")


if __name__ == "__main__":
    main()
