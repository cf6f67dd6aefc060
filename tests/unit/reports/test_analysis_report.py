import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from metamath_ray.reports import BadReportInputError, write_analysis_report
from metamath_ray.reports._analysis_plot import make_scatter, make_spreads, make_value_histogram

QUANTILES = [0.0, 0.1, 0.2, 0.3, 0.5]
HOSTILE = "<script>alert('row')</script>"
SPAN = {"low": 0.1, "high": 0.3}


def gain(rows):
    return {"rows": rows, "gain": 0.21, "interval": SPAN, "quantiles": QUANTILES, "num_zero": 1}


def perplexity(value):
    return {"tokens": 900, "perplexity": value, "interval": None, "mean": value, "quantiles": [1, 2, 3, 4, 5]}


def overlap(rows):
    return {
        "rows": rows,
        "exact": 1,
        "near": 2,
        "near_same_numbers": 1,
        "gram_only": 3,
        "with_gram": 5,
        "gram_share": 0.2,
    }


def third(name):
    return {
        "name": name,
        "shortest": 10,
        "longest": 20,
        "n": 3,
        "correct": 1,
        "accuracy": 1 / 3,
        "interval": SPAN,
    }


def length(rules):
    thirds = [third(name) for name in ("short", "middle", "long")]
    return {
        "evaluation": "e",
        "benchmark": "gsm8k",
        "rules": rules,
        "n": 9,
        "thirds": thirds,
        "fall": -0.1,
        "fall_interval": SPAN,
    }


SUMMARY = {
    "version": "0.1.0",
    "analyses": ["diversity", "perplexity", "overlap", "length", "correlation"],
    "data": {"name": f"runs/{HOSTILE}", "rows": 12, "by_type": {"GSM_SV": 12}, "blank": 0},
    "base": {"name": "gsm8k:train.jsonl", "rows": 30, "by_type": {"gsm8k": 30}, "blank": 0},
    "diversity": {
        "total": gain(12), "by_type": {"GSM_SV": gain(12)}, "text": "row", "dimension": 8, "unit_length": True,
        "num_base": 30, "num_texts": 42, "num_embedded": 3, "num_cut": 2,
        "recall": {"num_checked": 10, "share": 0.9, "mean_excess": 0.001},
        "farthest": [{"row_id": "a", "nearest_row_id": "b", "squared_distance": 0.5, "text": HOSTILE, "nearest_text": "t"}],
        "closest": [],
    },
    "perplexity": {
        "groups": [
            {"set": "data", "type": kind, "rows": 12, "response": perplexity(2.5), "text": perplexity(3.5)}
            for kind in ("", "GSM_SV")
        ],
        "model": "model:m", "prompt": "student", "num_too_long": 0, "num_blank": 0,
    },
    "overlap": {
        "total": overlap(12), "by_type": {"GSM_SV": overlap(12)}, "text": "query", "gram_words": 13, "threshold": 0.6,
        "num_texts": 12, "num_base_texts": 30, "num_pairs": 1, "miss_at_threshold": 0.0001,
    },
    "length": {"scores": [length("fixed"), length("paper")]},
    "correlation": {
        "n": 4, "pearson": -0.5, "interval": None, "slope": -1.0, "intercept": 2.0, "accuracy_column": "accuracy_gain",
        "mixes": [{"mix": HOSTILE, "diversity_gain": place / 4, "accuracy": 2 - place / 4} for place in range(4)],
    },
    "seconds": 12.5,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump({"data": "x", "embedding": {"api_key_env": "OPENAI_API_KEY"}})
    )
    pq.write_table(pa.table({"squared_distance": [0.0, 0.1, 0.9]}), tmp_path / "diversity.parquet")
    pair = {
        "row_id": "r", "base_row_id": "b", "jaccard": 0.7, "is_exact": False, "same_numbers": False,
        "rows_with_text": 1, "text": HOSTILE, "base_text": "t",
    }  # fmt: skip
    pq.write_table(pa.Table.from_pylist([pair]), tmp_path / "overlap_pairs.parquet")
    return tmp_path


def test_the_page_has_a_section_with_a_plot_for_each_analysis(folder):
    page = write_analysis_report(folder).read_text()
    sections = dict(re.findall(r'<section id="(\w+)"(.*?)</section>', page, re.DOTALL))
    assert list(sections) == [*SUMMARY["analyses"], "run"]
    plots = {
        "diversity": "columns",
        "perplexity": "spread",
        "overlap": "o-near",
        "length": "thirds",
        "correlation": "<svg",
    }
    for name, plot in plots.items():
        assert plot in sections[name], name
    assert "2 texts are longer than the embedder reads" in sections["diversity"]
    assert "the true nearest for 90.0 %" in sections["diversity"]
    assert "−0.500" in sections["correlation"]


def test_texts_of_the_data_are_shown_and_never_read_as_markup(folder):
    page = write_analysis_report(folder).read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4


def test_the_same_files_give_the_same_bytes(folder):
    first = write_analysis_report(folder).read_bytes()
    assert write_analysis_report(folder).read_bytes() == first


def test_only_what_was_asked_for_is_on_the_page(folder):
    asked = SUMMARY | {"analyses": ["length"], "data": None, "base": None}
    (folder / "summary.json").write_text(
        json.dumps({k: v for k, v in asked.items() if k not in SUMMARY["analyses"] or k == "length"})
    )
    page = write_analysis_report(folder).read_text()
    assert re.findall(r'<section id="(\w+)"', page) == ["length", "run"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "summary.json").unlink(),
            "summary.json is missing; the analysis job writes it",
        ),
        (lambda folder: (folder / "summary.json").write_text("{}"), "version: Field required"),
        (lambda folder: (folder / "diversity.parquet").unlink(), "diversity.parquet can't be read"),
    ],
    ids=["no-summary", "empty-summary", "no-table"],
)
def test_a_folder_without_its_files_is_named(folder, spoil, message):
    spoil(folder)
    with pytest.raises(BadReportInputError, match=re.escape(message)):
        write_analysis_report(folder)


def test_a_histogram_holds_every_value_once():
    values = [place / 1000 for place in range(1000)] + [50.0]
    histogram = make_value_histogram(values)
    assert sum(bar.count for bar in histogram.bars) == 1001
    assert histogram.holds_more
    assert histogram.bars[-1].label.endswith("or more")


@pytest.mark.parametrize("values", [[0.0], [0.0] * 50, [3.0, 3.0]], ids=["one", "all-zero", "equal"])
def test_a_histogram_of_equal_values_has_an_axis(values):
    assert sum(bar.count for bar in make_value_histogram(values).bars) == len(values)


def test_spreads_share_one_axis_and_lie_on_it():
    made = make_spreads([([0, 1, 2, 3, 4], 2.0), ([1, 2, 3, 4, 8], 8.0)])
    assert made.spreads[0].median == 0.25
    assert made.spreads[1].figure == 1.0
    assert made.ticks[0].share == 0.0


def test_points_and_line_of_a_scatter_lie_in_the_plot():
    scatter = make_scatter([("a", 0.1, 3.0), ("b", 0.5, 1.0), ("c", 0.9, -4.0)], slope=-8.0, intercept=4.0)
    assert all(0 <= point.x <= 1 and 0 <= point.y <= 1 for point in scatter.points)
    assert scatter.line.startswith("M")
