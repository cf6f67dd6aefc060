"""What a person looks at: the pages of a build, a training run and an evaluation, and the dataset card."""

from metamath_ray.reports._card import write_dataset_card
from metamath_ray.reports._evaluation import write_comparison_report, write_evaluation_report
from metamath_ray.reports._page import write_build_report
from metamath_ray.reports._run import BadReportInputError
from metamath_ray.reports._training_page import write_training_report

__all__ = [
    "BadReportInputError",
    "write_build_report",
    "write_comparison_report",
    "write_dataset_card",
    "write_evaluation_report",
    "write_training_report",
]
