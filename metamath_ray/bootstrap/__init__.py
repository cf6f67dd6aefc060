"""The build: four augmentations of seed problems, a teacher's reasoning paths, selection and export."""

from metamath_ray.bootstrap._build import Build, BuildStoppedError, Inputs, load_inputs
from metamath_ray.bootstrap._export import DATASET_COLUMNS
from metamath_ray.bootstrap._finish import finish_response
from metamath_ray.bootstrap._forecast import Forecast, Load, forecast_build
from metamath_ray.bootstrap._ledgers import read_ledgers
from metamath_ray.bootstrap._mask import Compat, Mask
from metamath_ray.bootstrap._masking import find_masks
from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.bootstrap._pilot import Estimate, Pilot, RestEstimate, ask_pilot, estimate_rest
from metamath_ray.bootstrap._prompts import Prompts, load_prompts
from metamath_ray.bootstrap._run_dir import open_run_dir
from metamath_ray.bootstrap._seeds import Seeds, load_seeds
from metamath_ray.released import Augmentation, released_type

__all__ = [
    "DATASET_COLUMNS",
    "Augmentation",
    "Build",
    "BuildOptions",
    "BuildStoppedError",
    "Compat",
    "Estimate",
    "Forecast",
    "Inputs",
    "Load",
    "Mask",
    "Pilot",
    "Prompts",
    "RestEstimate",
    "Seeds",
    "ask_pilot",
    "estimate_rest",
    "find_masks",
    "finish_response",
    "forecast_build",
    "load_inputs",
    "load_prompts",
    "load_seeds",
    "open_run_dir",
    "read_ledgers",
    "released_type",
]
