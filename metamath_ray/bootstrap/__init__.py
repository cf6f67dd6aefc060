"""The build: four augmentations of seed problems, a teacher's reasoning paths, selection and export."""

from metamath_ray.bootstrap._augmentations import Augmentation
from metamath_ray.bootstrap._build import Build, BuildStoppedError, Inputs, load_inputs
from metamath_ray.bootstrap._export import DATASET_COLUMNS, released_type
from metamath_ray.bootstrap._forecast import Forecast, forecast_build
from metamath_ray.bootstrap._mask import Compat, Mask
from metamath_ray.bootstrap._masking import find_masks
from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.bootstrap._prompts import Prompts, load_prompts
from metamath_ray.bootstrap._run_dir import BadRunDirError, open_run_dir
from metamath_ray.bootstrap._seeds import Seeds, load_seeds

__all__ = [
    "DATASET_COLUMNS",
    "Augmentation",
    "BadRunDirError",
    "Build",
    "BuildOptions",
    "BuildStoppedError",
    "Compat",
    "Forecast",
    "Inputs",
    "Mask",
    "Prompts",
    "Seeds",
    "find_masks",
    "forecast_build",
    "load_inputs",
    "load_prompts",
    "load_seeds",
    "open_run_dir",
    "released_type",
]
