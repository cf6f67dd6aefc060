"""Training: packed rows, a DeepSpeed loop on Ray Train with exact resume, export to a Hugging Face folder."""

from metamath_ray.step_metrics import StepMetrics
from metamath_ray.training._errors import CannotGoOnError, CannotResumeError, TrainingFailedError
from metamath_ray.training._interrupt import INTERRUPTED, end_on_signals
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._plan import describe_plan
from metamath_ray.training._preflight import PreflightError, check_running_cluster, check_training
from metamath_ray.training._recipes import recipe_defaults
from metamath_ray.training._trainer import train

__all__ = [
    "INTERRUPTED",
    "CannotGoOnError",
    "CannotResumeError",
    "PreflightError",
    "StepMetrics",
    "TrainOptions",
    "TrainingFailedError",
    "check_running_cluster",
    "check_training",
    "describe_plan",
    "end_on_signals",
    "recipe_defaults",
    "train",
]
