"""A trial's model asked the problems of some benchmarks, by whichever engine the options name."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metamath_ray.ablation._dev import DEV
from metamath_ray.ablation._generate import evaluate_here
from metamath_ray.ablation._options import AblationOptions
from metamath_ray.evaluation import (
    GREEDY,
    Evaluation,
    EvaluationOptions,
    EvaluationPlan,
    fingerprint_model,
    load_benchmarks,
    load_predictions,
    load_prompt,
    plan_evaluation,
    plan_requests,
    predictions_path,
)

DEV_FILE = "dev.jsonl"


Verdicts = dict[str, tuple[tuple[str, bool], ...]]
"""By benchmark, in its order: a problem's id, and whether it was answered correctly."""


def evaluate_model(
    options: AblationOptions, *, model: Path, benchmarks: Sequence[str], output: Path, num_cpus: int
) -> Verdicts:
    """The verdicts on every problem of the benchmarks of these names; `output` gets predictions and more.

    The dev problems lie in `options.output`. Goes on where an earlier call was killed.
    """
    specs = {spec.partition(":")[0]: spec for spec in options.evaluation.benchmarks}
    specs[DEV] = f"{DEV}:{options.output / DEV_FILE}"
    chosen = tuple(specs[name] for name in benchmarks)
    evaluation = options.evaluation_options(model=str(model), benchmarks=chosen, output=output)
    if options.evaluation.engine == "vllm":
        shared = max(num_cpus // evaluation.replicas, 1)
        cpus = {"cpus_per_replica": evaluation.engine.cpus_per_replica or shared}
        engine = evaluation.engine.model_copy(update=cpus)
        plan = plan_evaluation(evaluation.model_copy(update={"engine": engine}))
        Evaluation(_limited(plan, options.evaluation.limit)).run()
    else:
        plan = _limited(_plan_here(evaluation), options.evaluation.limit)
        evaluate_here(plan, batch_size=options.evaluation.batch_size, num_threads=num_cpus)
    return {name: _verdicts(output, name, options) for name in benchmarks}


def _verdicts(output: Path, name: str, options: AblationOptions) -> tuple[tuple[str, bool], ...]:
    grader = options.evaluation.grader
    return tuple(
        (prediction.problem_id, prediction.verdict(grader) == "correct")
        for prediction in load_predictions(predictions_path(output, name))
        if prediction.sample_index == GREEDY
    )


def _plan_here(options: EvaluationOptions) -> EvaluationPlan:
    """As `plan_evaluation`, for an engine that is no vLLM."""
    benchmarks = load_benchmarks(options.benchmarks)
    fingerprints = {"fingerprint": fingerprint_model(options.model)}
    identity = fingerprints | {"engine": "transformers"}
    render = load_prompt(options.prompt)
    requests = {
        benchmark.name: plan_requests(benchmark, options=options, render=render, identity=identity)
        for benchmark in benchmarks
    }
    return EvaluationPlan(options, options.model, "", fingerprints, benchmarks, requests)


def _limited(plan: EvaluationPlan, limit: int | None) -> EvaluationPlan:
    """The plan with `limit` problems of each test set; all dev problems stay."""
    if limit is None:
        return plan
    requests = dict(plan.requests)
    tests = tuple(spec for spec in plan.options.benchmarks if not spec.startswith(f"{DEV}:"))
    for benchmark in load_benchmarks(tests, limit=limit):
        wanted = {problem.id for problem in benchmark.problems}
        requests[benchmark.name] = tuple(r for r in requests[benchmark.name] if r.problem.id in wanted)
    return replace(plan, requests=requests)
