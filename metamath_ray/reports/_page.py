"""The page of a build: one HTML file that needs nothing else."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from metamath_ray.reports import _figures as figures
from metamath_ray.reports import _words as words
from metamath_ray.reports._run import VERDICTS, Run, load_run
from metamath_ray.reports._samples import MAX_SAMPLES, clip, embed_json, load_samples
from metamath_ray.reports._scan import Scan, scan_candidates
from metamath_ray.reports._shown_options import shown_options
from metamath_ray.reports._timeline import FILE, load_timeline
from metamath_ray.reports._training_plot import HEIGHT, WIDTH, compact
from metamath_ray.run_folder import write_whole

TEMPLATES = files("metamath_ray.reports") / "templates"

_EXAMPLE_CHARS = 900


@dataclass(frozen=True, slots=True)
class CostLine:
    """What the reasoning paths of one type took. `usd` at the prices of the options."""

    type: str
    prompt_tokens: int
    completion_tokens: int
    usd: float
    rows: int

    @property
    def tokens_per_row(self) -> float | None:
        """Prompt and completion tokens for each selected row; None without one."""
        return figures.ratio(self.prompt_tokens + self.completion_tokens, self.rows)

    @property
    def usd_per_row(self) -> float | None:
        """US dollars for each selected row; None without one."""
        return figures.ratio(self.usd, self.rows)


def write_build_report(run_dir: Path) -> Path:
    """Write `report.html` into the run directory and return its path.

    Needs `config.yaml`, `summary.json`, `candidates/` and `dataset/` of a finished build, shows `timeline.jsonl`
    where there is one, and reads nothing else; the same files give the same bytes. Raises `BadReportInputError`
    where one is missing or can't be read.
    """
    run = load_run(run_dir)
    scan = scan_candidates(run.candidates, max_picks=MAX_SAMPLES)
    return write_whole(run_dir / "report.html", _render(run, scan, load_samples(run, scan)))


def _render(run: Run, scan: Scan, samples: list[dict[str, Any]]) -> str:
    script = join_templates("browser.js", "report.js")
    costs, timeline = _cost_lines(run, scan), load_timeline(run.folder / FILE)
    return (
        make_environment()
        .get_template("report.html.j2")
        .render(
            summary=run.summary,
            total=run.summary.total,
            style=join_templates("report.css", *(["training.css"] if timeline else [])),
            script=script,
            script_hash=content_hash(script),
            costs=costs,
            cost_total=_add_up(costs),
            timeline=timeline,
            plot_width=WIDTH,
            plot_height=HEIGHT,
            has_prices=any(run.prices) or run.summary.ledger.usd > 0,
            has_targets=any(counts.target is not None for counts in run.summary.by_type.values()),
            ledger_is_more=run.summary.ledger.prompt_tokens > _add_up(costs).prompt_tokens,
            question_lengths=figures.make_histogram([scan.question_chars]),
            response_lengths=figures.make_histogram([scan.response_chars[True], scan.response_chars[False]]),
            num_candidates=scan.paths,
            samples=samples,
            samples_json=embed_json(samples),
            dropped=_dropped(run),
            options=shown_options(run.config),
            verdicts=VERDICTS,
        )
    )


def make_environment() -> jinja2.Environment:
    """The template engine of all pages: everything escaped, an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("metamath_ray.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "integer": figures.integer,
        "percent": figures.percent,
        "points": figures.points,
        "decimals": figures.decimals,
        "compact": lambda value: "–" if value is None else compact(value),
        "place": lambda share: f"{100 * share:.2f}%",
        "dollars": figures.dollars,
        "duration": figures.duration,
        "clip": lambda text: clip(text, _EXAMPLE_CHARS),
    }
    environment.globals |= {
        "ratio": figures.ratio,
        "augmentation_meanings": words.AUGMENTATION_MEANINGS,
        "verdict_labels": words.VERDICT_LABELS,
        "verdict_meanings": words.VERDICT_MEANINGS,
        "drop_labels": words.DROP_LABELS,
        "drop_meanings": words.DROP_MEANINGS,
    }
    return environment


def join_templates(*names: str) -> Markup:
    """The files of `templates` one after another, as they are: styles and scripts of our own."""
    texts = [(TEMPLATES / name).read_text(encoding="utf-8") for name in names]
    return Markup("".join(texts))  # noqa: S704


def content_hash(script: str) -> str:
    """The hash by which the page's content policy lets this script run, and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _cost_lines(run: Run, scan: Scan) -> list[CostLine]:
    prompt_price, completion_price = run.prices
    lines = []
    for kind, counts in run.summary.by_type.items():
        prompt, completion = scan.prompt_tokens[kind], scan.completion_tokens[kind]
        usd = (prompt * prompt_price + completion * completion_price) / 1e6
        lines.append(CostLine(kind, prompt, completion, usd, counts.selected))
    return lines


def _add_up(lines: list[CostLine]) -> CostLine:
    return CostLine(
        "All types",
        sum(line.prompt_tokens for line in lines),
        sum(line.completion_tokens for line in lines),
        sum(line.usd for line in lines),
        sum(line.rows for line in lines),
    )


def _dropped(run: Run) -> list[tuple[str, Mapping[str, int], int]]:
    """Reason, counts by type and their sum; the reasons that dropped nothing too: that is a finding."""
    dropped = run.summary.dropped
    reasons = [*words.DROP_LABELS, *(reason for reason in dropped if reason not in words.DROP_LABELS)]
    return [(reason, dropped.get(reason, {}), sum(dropped.get(reason, {}).values())) for reason in reasons]
