"""Training: packed rows, a DeepSpeed loop on Ray Train with exact resume, export to a Hugging Face folder."""

from metamath_ray.step_metrics import StepMetrics
from metamath_ray.training._errors import CannotGoOnError, CannotResumeError, TrainingFailedError
from metamath_ray.training._in_process import count_row_tokens, train_in_process
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._plan import describe_plan
from metamath_ray.training._preflight import PreflightError, check_running_cluster, check_training
from metamath_ray.training._recipes import recipe_defaults
from metamath_ray.training._trainer import train

__all__ = [
    "CannotGoOnError",
    "CannotResumeError",
    "PreflightError",
    "StepMetrics",
    "TrainOptions",
    "TrainingFailedError",
    "check_running_cluster",
    "check_training",
    "count_row_tokens",
    "describe_plan",
    "recipe_defaults",
    "train",
    "train_in_process",
]
