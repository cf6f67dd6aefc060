"""What a person looks at after a build: the HTML page and the dataset card."""

from metamath_ray.reports._card import write_dataset_card
from metamath_ray.reports._page import write_build_report
from metamath_ray.reports._run import BadReportInputError

__all__ = ["BadReportInputError", "write_build_report", "write_dataset_card"]
