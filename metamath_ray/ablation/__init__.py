"""Ablation: data mixes sampled from a run directory, a trial each on Ray Tune, and the table of what came out."""

from metamath_ray.ablation._mixes import BUILT_IN, Mix, load_mixes, resolve_mixes
from metamath_ray.ablation._options import AblationOptions, ablation_defaults
from metamath_ray.ablation._outcomes import MixInfo, Outcome
from metamath_ray.ablation._plan import AblationPlan, describe_plan, plan_ablation
from metamath_ray.ablation._pool import MixRow, Pool, load_pool
from metamath_ray.ablation._records import TrialRecord, load_record, read_record, write_record
from metamath_ray.ablation._report import write_report
from metamath_ray.ablation._run import TrialProgress, TrialsFailedError, run_ablation
from metamath_ray.ablation._sampling import MixSample, sample_mixes
from metamath_ray.ablation._trial import TrialTask, run_trial

__all__ = [
    "BUILT_IN",
    "AblationOptions",
    "AblationPlan",
    "Mix",
    "MixInfo",
    "MixRow",
    "MixSample",
    "Outcome",
    "Pool",
    "TrialProgress",
    "TrialRecord",
    "TrialTask",
    "TrialsFailedError",
    "ablation_defaults",
    "describe_plan",
    "load_mixes",
    "load_pool",
    "load_record",
    "plan_ablation",
    "read_record",
    "resolve_mixes",
    "run_ablation",
    "run_trial",
    "sample_mixes",
    "write_record",
    "write_report",
]
