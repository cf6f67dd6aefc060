"""Problems, requests and predictions made up for the tests of the evaluation."""

from dataclasses import replace
from typing import Any

from metamath_ray.evaluation import (
    Benchmark,
    Completion,
    EvaluationOptions,
    Prediction,
    Request,
    plan_requests,
)
from metamath_ray.evaluation._predictions import ungraded_prediction
from metamath_ray.problems import Problem


def make_problems(num: int, *, source: str = "gsm8k") -> tuple[Problem, ...]:
    return tuple(
        Problem(f"{source}-test-{number}", source, "gsm", f"What is {number} plus {number}?", str(2 * number))
        for number in range(num)
    )


def make_requests(
    num: int, *, samples: int = 0, prompt: str = "Q: {} A:", model: str = "m", **options: Any
) -> tuple[Request, ...]:
    benchmark = Benchmark("gsm8k", make_problems(num), num)
    return plan_requests(
        benchmark,
        options=EvaluationOptions(model="m", benchmarks=("gsm8k",), samples=samples, **options),
        render=lambda problem: prompt.format(problem.question),
        identity={"model": model},
    )


def complete(request: Request, text: str | None = None, *, finish_reason: str = "stop") -> Completion:
    right = f"The sum is found.\nThe answer is: {request.problem.answer}"
    return Completion(
        key=request.key,
        problem_id=request.problem.id,
        sample_index=request.sample_index,
        text=right if text is None else text,
        finish_reason=finish_reason,
        prompt_tokens=11,
        completion_tokens=7,
        seconds=0.5,
    )


def make_prediction(problem_id: str = "p", *, sample_index: int = 0, **changes: Any) -> Prediction:
    request = make_requests(1)[0]
    made = ungraded_prediction(request, complete(request))
    return replace(made, problem_id=problem_id, sample_index=sample_index, **changes)
