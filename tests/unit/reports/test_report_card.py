"""The dataset card: front matter that tools read, figures that equal the summary."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from metamath_ray.reports import write_dataset_card

from .conftest import SECRET


def front_matter(card: Path) -> dict[str, Any]:
    _, matter, _ = card.read_text(encoding="utf-8").split("---\n", 2)
    return dict(yaml.safe_load(matter))


def test_the_front_matter_names_the_rows_and_nothing_else(run_dir: Path) -> None:
    matter = front_matter(write_dataset_card(run_dir))
    (config,) = matter["configs"]
    assert config["data_files"] == [{"split": "train", "path": "dataset/*.parquet"}]
    assert matter["language"] == ["en"]
    assert matter["task_categories"] == ["text-generation", "question-answering"]
    assert "metamath" in matter["tags"]


@pytest.mark.parametrize(
    ("sources", "license_"),
    [
        pytest.param({"gsm8k": 1, "math": 2}, "mit", id="published"),
        pytest.param({"bundled": 3}, "apache-2.0", id="bundled"),
        pytest.param({"mine": 3}, "other", id="the user's own"),
        pytest.param({"gsm8k": 1, "mine": 3}, ["mit", "other"], id="mixed"),
    ],
)
def test_the_licence_follows_the_seeds(
    sources: dict[str, int], license_: object, run_dir: Path, edit_summary: Callable[..., None]
) -> None:
    edit_summary(seeds_by_source=sources)
    card = write_dataset_card(run_dir)
    assert front_matter(card)["license"] == license_
    assert "terms of the model" in card.read_text()


@pytest.mark.parametrize(
    ("rows", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1_000, "1K<n<10K"), (395_000, "100K<n<1M"), (1_000_000, "1M<n<10M")],
)
def test_the_size_category_follows_the_rows(
    rows: int, size: str, run_dir: Path, edit_summary: Callable[..., None]
) -> None:
    edit_summary(rows=rows)
    assert front_matter(write_dataset_card(run_dir))["size_categories"] == [size]


def test_the_table_by_type_equals_the_summary(run_dir: Path) -> None:
    text = write_dataset_card(run_dir).read_text(encoding="utf-8")
    summary = json.loads((run_dir / "summary.json").read_text())
    for kind, counts in summary["by_type"].items():
        (line,) = [line for line in text.splitlines() if line.replace("\\", "").startswith(f"| {kind} |")]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[1:4] == [str(counts[name]) for name in ("questions", "paths", "correct")]
        assert cells[5] == str(counts["selected"])


def test_the_card_says_what_the_rows_were_built_from(run_dir: Path) -> None:
    text = write_dataset_card(run_dir).read_text(encoding="utf-8")
    for fact in ("qwen2.5-test", "ab" * 32, "cd" * 32, "`fixed`", "2309.12284", "no benchmark was given"):
        assert fact in text
    assert json.loads((run_dir / "summary.json").read_text())["dataset_sha256"] in text


def test_the_card_holds_no_secret_and_no_address(run_dir: Path) -> None:
    text = write_dataset_card(run_dir).read_text(encoding="utf-8")
    assert SECRET not in text
    assert "127.0.0.1" not in text
    assert str(run_dir) not in text


def test_a_hostile_model_name_breaks_neither_front_matter_nor_table(
    run_dir: Path, edit_summary: Callable[..., None]
) -> None:
    name = "evil: [model] |\n---\n<script>x</script>"
    edit_summary(teacher=json.loads((run_dir / "summary.json").read_text())["teacher"] | {"model": name})
    card = write_dataset_card(run_dir)
    assert " ".join(name.split()) in front_matter(card)["pretty_name"]
    body = card.read_text().split("# MetaMathQA", 1)[1]
    assert "<script>" not in body.replace("\\<", "")


@pytest.mark.slow
def test_datasets_reads_the_rows_of_a_run_directory(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    write_dataset_card(run_dir)
    loaded = datasets.load_dataset(str(run_dir), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    assert loaded["train"].column_names[:4] == ["type", "query", "original_question", "response"]
    assert loaded["train"].num_rows == pq.read_table(run_dir / "dataset").num_rows
