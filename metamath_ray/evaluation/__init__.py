"""Evaluation: benchmarks, prompts, predictions that survive a kill, verdicts under two rule sets, scores."""

from metamath_ray.evaluation._benchmarks import Benchmark, Kind, kind_of, load_benchmarks
from metamath_ray.evaluation._compare import (
    BenchmarkComparison,
    Flip,
    PairedScores,
    compare_benchmark,
    compare_evaluations,
    write_comparison,
)
from metamath_ray.evaluation._journal import FAILED, Completion, JournalDamagedError, JournalInUseError
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
)
from metamath_ray.evaluation._predictions import (
    PREDICTIONS,
    BadPredictionsError,
    Prediction,
    PredictionStore,
    Verdict,
    load_all_predictions,
    load_predictions,
    predictions_path,
    write_predictions,
)
from metamath_ray.evaluation._prompts import load_prompt
from metamath_ray.evaluation._regrade import Regraded, count_verdicts, grade_predictions, regrade
from metamath_ray.evaluation._samples import Estimate, SampleScores, score_samples, vote
from metamath_ray.evaluation._scores import BenchmarkScores, RuleScores, Score, Third, score, score_benchmark
from metamath_ray.evaluation._statistics import (
    Interval,
    mcnemar_exact,
    paired_difference_interval,
    pass_at_k,
    wilson_interval,
)
from metamath_ray.evaluation._summary import (
    Provenance,
    grader_versions,
    load_provenance,
    load_summary,
    write_summary,
)

__all__ = [
    "FAILED",
    "GREEDY",
    "PAPER_MAX_NEW_TOKENS",
    "PAPER_STOP",
    "PREDICTIONS",
    "BadPredictionsError",
    "Benchmark",
    "BenchmarkComparison",
    "BenchmarkScores",
    "Completion",
    "EndpointOptions",
    "EngineOptions",
    "Estimate",
    "EvaluationOptions",
    "Flip",
    "Interval",
    "JournalDamagedError",
    "JournalInUseError",
    "Kind",
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
    "Third",
    "Verdict",
    "compare_benchmark",
    "compare_evaluations",
    "count_verdicts",
    "fingerprint_model",
    "grade_predictions",
    "grader_versions",
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
    "plan_requests",
    "predictions_path",
    "regrade",
    "request_key",
    "score",
    "score_benchmark",
    "score_samples",
    "vote",
    "wilson_interval",
    "write_comparison",
    "write_predictions",
    "write_summary",
]
