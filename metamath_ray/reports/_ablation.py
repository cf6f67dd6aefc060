"""The page of an ablation: one HTML file that needs nothing else."""

from dataclasses import dataclass
from pathlib import Path

from metamath_ray.reports._ablation_plot import Cell, DotPlot, make_dot_plot, make_matrix, make_type_bars
from metamath_ray.reports._ablation_run import (
    Ablation,
    AblationStatistics,
    BenchmarkScores,
    MixDifference,
    MixScore,
    load_ablation,
)
from metamath_ray.reports._figures import p_value, signed_points
from metamath_ray.reports._page import join_templates, make_environment
from metamath_ray.reports._shown_options import shown_options
from metamath_ray.run_folder import write_whole

_STYLES = ("report.css", "training.css", "evaluation.css", "analysis.css", "ablation.css")


@dataclass(frozen=True, slots=True)
class Lead:
    """The mix with the highest mean on a benchmark, the next one, and how sure the lead is; None with one mix."""

    best: MixScore
    next: MixScore | None
    p_holm: float | None


@dataclass(frozen=True, slots=True)
class Panel:
    """A benchmark and what is drawn of it."""

    scores: BenchmarkScores
    plot: DotPlot
    matrix: list[tuple[str, list[Cell | None]]]
    lead: Lead

    @property
    def has_paper(self) -> bool:
        """Whether the paper has a number for any mix on this benchmark."""
        return any(score.paper for score in self.scores.scores)

    @property
    def has_single_seeds(self) -> bool:
        """Whether the interval of any mix leaves out how seeds vary."""
        return any(len(score.by_seed) == 1 for score in self.scores.scores)


def write_ablation_report(folder: Path) -> Path:
    """Write `report.html` into an ablation's output folder and return its path.

    Needs `statistics.json`, and shows the options where there is a `config.yaml`; the same files give the same
    bytes. Raises `BadReportInputError` where one is missing or can't be read.
    """
    return write_whole(folder / "report.html", _render(load_ablation(folder)))


def _render(ablation: Ablation) -> str:
    statistics = ablation.statistics
    environment = make_environment()
    environment.filters |= {
        "signed": signed_points,
        "p_value": p_value,
        "place": lambda share: f"{100 * share:.2f}%",
        "bare": lambda share: f"{100 * share:.1f}",
    }
    types, bars = make_type_bars(statistics.mixes)
    return environment.get_template("ablation.html.j2").render(
        statistics=statistics,
        style=join_templates(*_STYLES),
        panels=[_panel(one) for one in statistics.benchmarks],
        ours=_ours(statistics),
        seeds_in_words=_seeds_in_words(statistics),
        types=types,
        bars=bars,
        options=shown_options(ablation.config),
    )


def _panel(benchmark: BenchmarkScores) -> Panel:
    return Panel(benchmark, make_dot_plot(benchmark.scores), make_matrix(benchmark), _lead(benchmark))


def _lead(benchmark: BenchmarkScores) -> Lead:
    best, *others = sorted(benchmark.scores, key=lambda score: -score.accuracy)
    if not others:
        return Lead(best, None, None)
    pair = {best.mix, others[0].mix}
    return Lead(best, others[0], next(one.p_holm for one in benchmark.differences if _names(one) == pair))


def _names(pair: MixDifference) -> set[str]:
    return {pair.first, pair.second}


def _ours(statistics: AblationStatistics) -> dict[tuple[str, str], MixScore]:
    """Our scores by mix and benchmark."""
    return {(score.mix, one.benchmark): score for one in statistics.benchmarks for score in one.scores}


def _seeds_in_words(statistics: AblationStatistics) -> str:
    counts = sorted({len(score.by_seed) for one in statistics.benchmarks for score in one.scores})
    if counts == [1]:
        return "one seed each"
    return f"{counts[0]} seeds each" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds each"
