"""The page of a demo: the story of a dataset, a training and what it changed, in one HTML file."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from metamath_ray import __version__
from metamath_ray.reports._demo_run import BenchmarkChange, Demo, DemoFolders, load_demo
from metamath_ray.reports._demo_samples import sample_outcomes, sample_seeds
from metamath_ray.reports._evaluation import VERDICT_LABELS
from metamath_ray.reports._evaluation_run import EVALUATION_VERDICTS
from metamath_ray.reports._figures import p_value, signed_points
from metamath_ray.reports._page import TEMPLATES, make_environment
from metamath_ray.reports._training_plot import HEIGHT, WIDTH, Chart, Series, compact, make_chart, smooth
from metamath_ray.reports._training_run import TrainingRun
from metamath_ray.run_folder import write_whole

_STYLES = ("report.css", "evaluation.css", "training.css", "demo.css")
_FIRST_STEPS = 10
_WINDOW = 5
_MANY = 10  # steps from which a smoothed line says more than the steps themselves
_LIKELY_CHANCE = 0.05
_BENCHMARK_MEANINGS = {
    "bundled": "holds word problems as they are",
    "bundled_backward": "holds such problems with one number hidden and the answer told, and asks for the number",
}


@dataclass(frozen=True, slots=True)
class DemoStep:
    """A step of the demo as the page lists it; `seconds` None where they were not taken."""

    title: str
    command: str
    seconds: float | None
    page: Path | None


def write_demo_report(
    page: Path,
    folders: DemoFolders,
    *,
    steps: Sequence[DemoStep],
    student: str,
    about_student: str,
    is_fast: bool = False,
) -> Path:
    """Write the page of a demo whose stages are finished, and return its path.

    `student` names the model that was fine-tuned, `about_student` goes on with "has …" or "is …". Pages are linked
    relative to `page`. The same files and steps give the same bytes. Raises `BadReportInputError` where a file is
    missing or can't be read.
    """
    demo = load_demo(folders)
    text = (
        _environment(page)
        .get_template("demo.html.j2")
        .render(
            **_told(demo),
            student=student,
            about_student=about_student,
            steps=steps,
            total_seconds=sum(step.seconds or 0.0 for step in steps),
            is_fast=is_fast,
            style=Markup(_style()),  # noqa: S704  # our own files
            verdicts=EVALUATION_VERDICTS,
            labels=VERDICT_LABELS,
            plot_width=WIDTH,
            plot_height=HEIGHT,
            version=__version__,
        )
    )
    return write_whole(page, text)


def _told(demo: Demo) -> dict[str, object]:
    """What the template speaks of."""
    training = demo.training
    return {
        "folders": demo.folders,
        "build": demo.build.summary,
        "training": training,
        "learnt": training.summary,
        "rows_read": round(training.summary.epochs * training.manifest.num_rows),
        "first_loss": _mean([one.loss for one in training.steps[:_FIRST_STEPS]]),
        "loss_chart": _loss_chart(training),
        "grader": demo.after.summary.grader,
        "changes": list(demo.changes()),
        "meanings": _BENCHMARK_MEANINGS,
        "seeds": sample_seeds(demo.build),
        "outcomes": sample_outcomes(demo),
    }


def _environment(page: Path) -> jinja2.Environment:
    environment = make_environment()
    environment.filters |= {
        "loss": lambda value: "–" if value is None or math.isnan(value) else f"{value:.3f}",
        "compact": lambda value: "–" if value is None else compact(value),
        "place": lambda share: f"{100 * share:.2f}%",
        "signed": signed_points,
        "p_value": p_value,
        "verdict_on": _verdict_on,
        "link": lambda target: os.path.relpath(target, page.parent),
    }
    return environment


def _style() -> str:
    return "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in _STYLES)


def _verdict_on(change: BenchmarkChange) -> str:
    """In words, whether the difference can be told from chance."""
    paired = change.paired
    if paired.correct_a == paired.correct_b:
        return "no difference"
    direction = "better" if paired.correct_b > paired.correct_a else "worse"
    if paired.p_value < _LIKELY_CHANCE:
        return f"{direction}, by more than chance would explain"
    return f"{direction}, by no more than chance may give"


def _loss_chart(run: TrainingRun) -> Chart:
    losses = [one.loss for one in run.steps]
    series = [Series("each step", "raw", losses)]
    if len(losses) >= _MANY:
        series.append(Series(f"mean of {_WINDOW} steps", "main", smooth(losses, _WINDOW)))
    steps = [one.step for one in run.steps]
    return make_chart("Loss", series, steps=steps, marks=run.resumed_at, from_zero=False)


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else None
