"""The dataset card: `README.md` with the front matter that the Hugging Face hub and `datasets` read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import yaml

from metamath_ray.reports import _figures as figures
from metamath_ray.reports._run import Run, load_run
from metamath_ray.reports._words import DROP_LABELS, describe_type
from metamath_ray.run_folder import write_whole

_LICENSES = {"gsm8k": "mit", "math": "mit", "bundled": "apache-2.0"}

_SIZES = {
    1_000: "n<1K",
    10_000: "1K<n<10K",
    100_000: "10K<n<100K",
    1_000_000: "100K<n<1M",
    10_000_000: "1M<n<10M",
}

DATA_FILES = "dataset/*.parquet"
"""What `datasets.load_dataset` reads of a run directory."""


def write_dataset_card(run_dir: Path) -> Path:
    """Write `README.md`, the dataset card, into the run directory and return its path.

    With it `datasets.load_dataset(run_dir)` reads the rows alone, and no candidates. It holds no path and no
    address of the machine that built it. Raises `BadReportInputError` as `write_build_report` does.
    """
    run = load_run(run_dir)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("metamath_ray.reports", "templates"),
        autoescape=False,  # noqa: S701  # Markdown: names go through the `cell` filter
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"integer": figures.integer, "percent": figures.percent, "cell": _cell}
    text = environment.get_template("card.md.j2").render(
        front_matter=yaml.safe_dump(_front_matter(run), sort_keys=False, allow_unicode=True),
        summary=run.summary,
        total=run.summary.total,
        config=run.config,
        teacher=run.config.get("teacher") or {},
        licenses=_licenses(run.summary.seeds_by_source),
        dropped={
            DROP_LABELS.get(reason, reason): sum(counts.values())
            for reason, counts in run.summary.dropped.items()
        },
        describe_type=describe_type,
        data_files=DATA_FILES,
    )
    return write_whole(run_dir / "README.md", text)


def _front_matter(run: Run) -> dict[str, Any]:
    licenses = sorted(set(_licenses(run.summary.seeds_by_source).values()))
    return {
        "pretty_name": " ".join(f"MetaMathQA, built with {run.summary.teacher.model}".split()),
        "license": licenses[0] if len(licenses) == 1 else licenses,
        "language": ["en"],
        "task_categories": ["text-generation", "question-answering"],
        "size_categories": [_size(run.summary.rows)],
        "tags": ["metamath", "math", "reasoning", "synthetic"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": DATA_FILES}],
            }
        ],
    }


def _licenses(sources: Iterable[str]) -> dict[str, str]:
    """The seeds' licence by source; `other` for problems that the user brought."""
    return {source: _LICENSES.get(source, "other") for source in sources}


def _size(rows: int) -> str:
    return next((name for limit, name in _SIZES.items() if rows < limit), "10M<n<100M")


def _cell(text: Any) -> str:
    """A name as plain text of one line, inside a Markdown table too."""
    line = " ".join(str(text).split())
    return "".join(f"\\{character}" if character in "\\|`*<>[]" else character for character in line)
