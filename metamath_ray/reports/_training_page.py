"""The page of a training run: one HTML file that needs nothing else, for a finished run and any other."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jinja2
from markupsafe import Markup

from metamath_ray import __version__
from metamath_ray.reports import _figures as figures
from metamath_ray.reports._page import TEMPLATES, make_environment
from metamath_ray.reports._shown_options import shown_options
from metamath_ray.reports._training_plot import (
    HEIGHT,
    WIDTH,
    Chart,
    Series,
    compact,
    make_chart,
    power_of_ten,
    scientific,
    smooth,
)
from metamath_ray.reports._training_run import TrainingRun, load_training_run
from metamath_ray.run_folder import write_whole
from metamath_ray.step_metrics import StepMetrics

_GIB = 1 << 30
_TABLE_ROWS = 30
_SMOOTHED_SHARE = 20  # the smoothed curves average over one step in so many
_LARGEST_WINDOW = 101
_FIRST_STEPS = 10


@dataclass(frozen=True, slots=True)
class StepLine:
    """A row of the table of steps: the step's own figures and its smoothed loss."""

    step: StepMetrics
    smoothed_loss: float


def write_training_report(output: Path) -> Path:
    """Write `report.html` into a training's output folder and return its path.

    Needs `config.yaml`, `metrics.jsonl` with one step or more, and `data/manifest.json`; without `summary.json` it
    shows the run so far. The same files give the same bytes. Raises `BadReportInputError` where one is missing or
    can't be read.
    """
    return write_whole(output / "report.html", _render(load_training_run(output)))


def _render(run: TrainingRun) -> str:
    window = _window(len(run.steps))
    losses = smooth([one.loss for one in run.steps], window)
    every = _table_interval(len(run.steps))
    return (
        _environment()
        .get_template("training.html.j2")
        .render(
            run=run,
            chosen=run.chosen,
            summary=run.summary,
            manifest=run.manifest,
            last=run.steps[-1],
            style=Markup(_style()),  # noqa: S704  # our own files
            student=_short_name(run.chosen.model),
            first_loss=_mean([one.loss for one in run.steps[:_FIRST_STEPS]]),
            tokens_per_s=_rate(run),
            real_share=_share(run),
            loss_chart=_loss_chart(run, losses, window),
            charts=list(_other_charts(run, window)),
            window=window,
            lines=_lines(run, losses, every),
            every=every,
            num_dropped=sum(run.manifest.dropped.values()),
            options=shown_options(run.config),
            version=run.summary.metamath_ray_version or __version__,
            plot_width=WIDTH,
            plot_height=HEIGHT,
        )
    )


def _environment() -> jinja2.Environment:
    environment = make_environment()
    environment.filters |= {
        "loss": lambda value: "–" if value is None or math.isnan(value) else f"{value:.4f}",
        "norm": lambda value: "–" if math.isnan(value) else f"{value:,.3f}",
        "compact": lambda value: "–" if value is None else compact(value),
        "scientific": scientific,
        "memory": _memory,
        "moment": lambda seconds: f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC",
        "place": lambda share: f"{100 * share:.2f}%",
    }
    return environment


def _style() -> str:
    return "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "training.css"))


def _loss_chart(run: TrainingRun, smoothed: list[float], window: int) -> Chart:
    raw = [one.loss for one in run.steps]
    series = [Series("each step", "raw", raw)]
    if window > 1:
        series.append(Series(f"mean of {window} steps", "main", smoothed))
    return _chart(run, "Loss", series, from_zero=False)


def _other_charts(run: TrainingRun, window: int) -> Iterator[Chart]:
    rates = [one.learning_rate for one in run.steps]
    exponent = math.floor(math.log10(max(rates))) if max(rates) > 0 else 0
    scaled = [rate / 10.0**exponent for rate in rates]
    yield _chart(run, "Learning rate", [Series("", "main", scaled)], unit=f"×{power_of_ten(exponent)}")
    norms = [one.grad_norm for one in run.steps]
    smoothed = [Series(f"mean of {window} steps", "main", smooth(norms, window))] if window > 1 else []
    yield _chart(run, "Gradient norm", [Series("each step", "raw", norms), *smoothed], unit="before clipping")
    yield _chart(run, "Throughput", _throughput(run, window), unit="tokens a second")
    memory = [one.peak_memory_bytes / _GIB for one in run.steps]
    yield _chart(run, "Peak memory", [Series("", "main", memory)], unit="GiB, the largest of any worker")


def _throughput(run: TrainingRun, window: int) -> list[Series]:
    every = [one.tokens_per_s for one in run.steps]
    responses = [one.response_tokens_per_s for one in run.steps]
    if window == 1:
        return [Series("all tokens", "main", every), Series("response tokens", "second", responses)]
    return [
        Series("all tokens, each step", "raw", every),
        Series(f"mean of {window} steps", "main", smooth(every, window)),
        Series(f"response tokens, mean of {window} steps", "second", smooth(responses, window)),
    ]


def _chart(
    run: TrainingRun, title: str, series: list[Series], *, unit: str = "", from_zero: bool = True
) -> Chart:
    steps = [one.step for one in run.steps]
    return make_chart(title, series, steps=steps, marks=run.resumed_at, unit=unit, from_zero=from_zero)


def _lines(run: TrainingRun, smoothed: list[float], every: int) -> list[StepLine]:
    ends = (run.steps[0].step, run.steps[-1].step)
    return [
        StepLine(one, mean)
        for one, mean in zip(run.steps, smoothed, strict=True)
        if one.step % every == 0 or one.step in ends
    ]


def _table_interval(num_steps: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, … that leaves at most `_TABLE_ROWS` rows."""
    scale = 1
    while True:
        for interval in (scale, 2 * scale, 5 * scale):
            if num_steps <= interval * _TABLE_ROWS:
                return interval
        scale *= 10


def _window(num_steps: int) -> int:
    """An odd number of steps to average over; 1 where there are too few to."""
    return min(max(num_steps // _SMOOTHED_SHARE, 5), _LARGEST_WINDOW) | 1 if num_steps >= 10 else 1


def _mean(values: list[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else None


def _rate(run: TrainingRun) -> float | None:
    """Tokens a second over the time of the steps."""
    return figures.ratio(sum(one.tokens for one in run.steps), sum(one.seconds for one in run.steps))


def _share(run: TrainingRun) -> float | None:
    """Real tokens as a share of the positions computed in training."""
    return figures.ratio(sum(one.tokens for one in run.steps), sum(one.padded_tokens for one in run.steps))


def _memory(num_bytes: float) -> str:
    return f"{num_bytes / _GIB:.2f} GiB" if num_bytes >= _GIB / 10 else f"{num_bytes / (1 << 20):.1f} MiB"


def _short_name(model: str) -> str:
    """The last part of a path or hub name."""
    return model.rstrip("/").rsplit("/", 1)[-1] or "A student"
