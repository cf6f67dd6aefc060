"""The page of the analyses: one HTML file that needs nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from metamath_ray.reports._analysis_plot import make_scatter, make_spreads, make_value_histogram
from metamath_ray.reports._analysis_run import (
    AnalysisRun,
    LengthScores,
    Rows,
    load_analysis,
    read_column,
    read_rows,
)
from metamath_ray.reports._page import TEMPLATES, make_environment
from metamath_ray.reports._shown_options import shown_options
from metamath_ray.reports._training_plot import HEIGHT, WIDTH, compact
from metamath_ray.run_folder import write_whole

ANALYSIS_LABELS = {
    "diversity": "Diversity gain",
    "perplexity": "Perplexity",
    "overlap": "Overlap",
    "length": "Length of question",
    "correlation": "Diversity and accuracy",
}

TEXT_MEANINGS = {"row": "query and response together", "query": "the query", "response": "the response"}

_STYLES = ("report.css", "training.css", "evaluation.css", "analysis.css")
_PAIRS = 30


def write_analysis_report(output: Path) -> Path:
    """Write `report.html` into the output folder of the analyses and return its path.

    Needs `config.yaml`, `summary.json` and the tables beside it; the same files give the same bytes. Raises
    `BadReportInputError` where one is missing or can't be read.
    """
    return write_whole(output / "report.html", _render(load_analysis(output)))


def _render(run: AnalysisRun) -> str:
    environment = make_environment()
    environment.filters |= {
        "compact": lambda value: "–" if value is None else compact(value),
        "signed": lambda share: f"{100 * share:+.1f}".replace("-", "−"),
        "coefficient": lambda value: f"{value:.3f}".replace("-", "−"),
        "place": lambda share: f"{100 * share:.2f}%",
    }
    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in _STYLES)
    return environment.get_template("analysis.html.j2").render(
        summary=run.summary,
        names={"data": _short_name(run.summary.data), "base": _short_name(run.summary.base)},
        labels=ANALYSIS_LABELS,
        text_meanings=TEXT_MEANINGS,
        style=Markup(style),  # noqa: S704  # our own files
        options=shown_options(run.config),
        plot_width=WIDTH,
        plot_height=HEIGHT,
        **dict(_plots(run)),
    )


def _plots(run: AnalysisRun) -> Iterator[tuple[str, Any]]:
    """What the sections draw, by name, for the analyses that there are."""
    summary = run.summary
    if summary.diversity:
        groups = [("All", summary.diversity.total), *summary.diversity.by_type.items()]
        yield "gains", groups
        yield "gain_spreads", make_spreads((group.quantiles, group.gain) for _, group in groups)
        yield "gain_histogram", make_value_histogram(read_column(run.folder, "diversity", "squared_distance"))
    if summary.perplexity:
        for what in ("response", "text"):
            of = [getattr(group, what) for group in summary.perplexity.groups]
            yield f"{what}_spreads", make_spreads((one.quantiles, one.perplexity) for one in of)
    if summary.overlap:
        yield "overlaps", [("All", summary.overlap.total), *summary.overlap.by_type.items()]
        columns = [
            "row_id",
            "base_row_id",
            "jaccard",
            "is_exact",
            "same_numbers",
            "rows_with_text",
            "text",
            "base_text",
        ]
        yield "pairs", read_rows(run.folder, "overlap_pairs", columns=columns, limit=_PAIRS)
    if summary.length:
        yield "length_charts", list(_length_charts(summary.length.scores))
    if summary.correlation:
        one = summary.correlation
        points = [(mix.mix, mix.diversity_gain, mix.accuracy) for mix in one.mixes]
        yield "scatter", make_scatter(points, slope=one.slope, intercept=one.intercept)


def _length_charts(
    scores: tuple[LengthScores, ...],
) -> Iterator[tuple[str, LengthScores, LengthScores, float]]:
    """Title, both rule sets, and the top of the axis, a multiple of 10 %."""
    fixed = [one for one in scores if one.rules == "fixed"]
    paper = [one for one in scores if one.rules == "paper"]
    several = len({one.evaluation for one in fixed}) > 1
    for one, other in zip(fixed, paper, strict=True):
        highest = max(third.interval.high for third in (*one.thirds, *other.thirds))
        top = max(1, -int(-highest * 10 // 1)) / 10
        yield (f"{one.benchmark}, {one.evaluation}" if several else one.benchmark), one, other, top


def _short_name(rows: Rows | None) -> str:
    """The last part of a path, or the name of a set of problems."""
    if rows is None:
        return ""
    return rows.name.rstrip("/").rsplit("/", 1)[-1].removesuffix(".parquet").removesuffix(".json")
