"""Seed problems and benchmarks: one record type, one reader a format, and the bundled set."""

from metamath_ray.problems._arithmetic import check_worked_arithmetic, compute_arithmetic
from metamath_ray.problems._gold import extract_gold_gsm8k, extract_gold_math
from metamath_ray.problems._load import BadRowsError, LoadedProblems, load_bundled, load_problems
from metamath_ray.problems._record import Problem, Style
from metamath_ray.problems._spec import SeedSpec, parse_spec

__all__ = [
    "BadRowsError",
    "LoadedProblems",
    "Problem",
    "SeedSpec",
    "Style",
    "check_worked_arithmetic",
    "compute_arithmetic",
    "extract_gold_gsm8k",
    "extract_gold_math",
    "load_bundled",
    "load_problems",
    "parse_spec",
]
