"""Pages of builds, training, evaluations, ablations, analyses and a demo; the dataset card."""

from metamath_ray.reports._ablation import write_ablation_report
from metamath_ray.reports._analysis import write_analysis_report
from metamath_ray.reports._card import write_dataset_card
from metamath_ray.reports._demo import DemoStep, write_demo_report
from metamath_ray.reports._demo_run import DemoFolders
from metamath_ray.reports._evaluation import write_comparison_report, write_evaluation_report
from metamath_ray.reports._page import write_build_report
from metamath_ray.reports._run import BadReportInputError
from metamath_ray.reports._training_page import write_training_report

__all__ = [
    "BadReportInputError",
    "DemoFolders",
    "DemoStep",
    "write_ablation_report",
    "write_analysis_report",
    "write_build_report",
    "write_comparison_report",
    "write_dataset_card",
    "write_demo_report",
    "write_evaluation_report",
    "write_training_report",
]
