"""Evaluation: benchmarks, prompts, predictions that survive a kill, verdicts under two rule sets, scores."""

from metamath_ray.evaluation._application import (
    Application,
    Endpoint,
    failure_of,
    place_engines,
    run_application,
    start_ray_for_serve,
)
from metamath_ray.evaluation._benchmarks import Benchmark, Kind, kind_of, load_benchmarks
from metamath_ray.evaluation._clients import BadEndpointError, EngineLostError
from metamath_ray.evaluation._compare import (
    BenchmarkComparison,
    Flip,
    PairedScores,
    compare_benchmark,
    compare_evaluations,
    write_comparison,
)
from metamath_ray.evaluation._gate import hash_key
from metamath_ray.evaluation._grading import grade_predictions
from metamath_ray.evaluation._journal import Completion, JournalDamagedError, JournalInUseError
from metamath_ray.evaluation._keys import (
    GREEDY,
    Request,
    Sampling,
    fingerprint_model,
    plan_requests,
    request_key,
)
from metamath_ray.evaluation._options import (
    PAPER_MAX_NEW_TOKENS,
    PAPER_STOP,
    EndpointOptions,
    EngineOptions,
    EvaluationOptions,
    ModelOptions,
)
from metamath_ray.evaluation._predictions import (
    BadPredictionsError,
    Prediction,
    PredictionStore,
    Verdict,
    load_predictions,
    predictions_path,
    write_predictions,
)
from metamath_ray.evaluation._prompts import load_prompt
from metamath_ray.evaluation._regrade import Regraded, regrade, regrade_evaluation
from metamath_ray.evaluation._replica import Answer, EngineStartError
from metamath_ray.evaluation._run import Evaluation, EvaluationPlan, EvaluationStatus, plan_evaluation
from metamath_ray.evaluation._samples import Estimate, SampleScores, score_samples, vote
from metamath_ray.evaluation._scores import BenchmarkScores, RuleScores, Score, Third, score, score_benchmark
from metamath_ray.evaluation._serve_options import ServeOptions, check_port, is_loopback
from metamath_ray.evaluation._serving import serving_application
from metamath_ray.evaluation._setup import EngineSetup, engine_arguments, resolve_adapter, resolve_model
from metamath_ray.evaluation._statistics import (
    Interval,
    mcnemar_exact,
    paired_difference_interval,
    pass_at_k,
    wilson_interval,
)
from metamath_ray.evaluation._summary import (
    Provenance,
    load_all_predictions,
    load_provenance,
    load_summary,
    write_summary,
)

__all__ = [
    "GREEDY",
    "PAPER_MAX_NEW_TOKENS",
    "PAPER_STOP",
    "Answer",
    "Application",
    "BadEndpointError",
    "BadPredictionsError",
    "Benchmark",
    "BenchmarkComparison",
    "BenchmarkScores",
    "Completion",
    "Endpoint",
    "EndpointOptions",
    "EngineLostError",
    "EngineOptions",
    "EngineSetup",
    "EngineStartError",
    "Estimate",
    "Evaluation",
    "EvaluationOptions",
    "EvaluationPlan",
    "EvaluationStatus",
    "Flip",
    "Interval",
    "JournalDamagedError",
    "JournalInUseError",
    "Kind",
    "ModelOptions",
    "PairedScores",
    "Prediction",
    "PredictionStore",
    "Provenance",
    "Regraded",
    "Request",
    "RuleScores",
    "SampleScores",
    "Sampling",
    "Score",
    "ServeOptions",
    "Third",
    "Verdict",
    "check_port",
    "compare_benchmark",
    "compare_evaluations",
    "engine_arguments",
    "failure_of",
    "fingerprint_model",
    "grade_predictions",
    "hash_key",
    "is_loopback",
    "kind_of",
    "load_all_predictions",
    "load_benchmarks",
    "load_predictions",
    "load_prompt",
    "load_provenance",
    "load_summary",
    "mcnemar_exact",
    "paired_difference_interval",
    "pass_at_k",
    "place_engines",
    "plan_evaluation",
    "plan_requests",
    "predictions_path",
    "regrade",
    "regrade_evaluation",
    "request_key",
    "resolve_adapter",
    "resolve_model",
    "run_application",
    "score",
    "score_benchmark",
    "score_samples",
    "serving_application",
    "start_ray_for_serve",
    "vote",
    "wilson_interval",
    "write_comparison",
    "write_predictions",
    "write_summary",
]
