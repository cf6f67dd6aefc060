"""What rows and evaluations say: diversity gain, perplexity, overlap, length of question, correlation over mixes."""

from metamath_ray.analysis._endpoint import EndpointFailedError
from metamath_ray.analysis._options import AnalysisOptions
from metamath_ray.analysis._plan import AnalysisPlan, BadEndpointError, plan_analysis
from metamath_ray.analysis._run import run_analyses
from metamath_ray.analysis._workers import WorkersFailedError

__all__ = [
    "AnalysisOptions",
    "AnalysisPlan",
    "BadEndpointError",
    "EndpointFailedError",
    "WorkersFailedError",
    "plan_analysis",
    "run_analyses",
]
