import json
import re

import pytest

from metamath_ray.reports import BadReportInputError, write_ablation_report
from metamath_ray.reports._ablation_plot import make_dot_plot, make_matrix, make_type_bars
from metamath_ray.reports._ablation_run import BenchmarkScores, MixRows

HOSTILE = "<script>alert('mix')</script>"
PAPER = {"mix": "A", "data": "GSM8K", "table": "Table 1", "accuracy": {"gsm8k": 0.596, "math": 0.044}}


def score(mix, *seeds, paper=None):
    mean = sum(seeds) / len(seeds)
    return {
        "mix": mix,
        "accuracy": mean,
        "interval": {"low": mean - 0.05, "high": mean + 0.05},
        "over": "seeds and problems" if len(seeds) > 1 else "problems",
        "by_seed": [{"seed": number, "accuracy": value} for number, value in enumerate(seeds)],
        "paper": paper,
    }


def pair(first, second, difference, p_holm):
    interval = {"low": difference - 0.04, "high": difference + 0.06}
    return {
        "first": first, "second": second, "difference": difference, "interval": interval, "over": "problems",
        "share_not_above": 0.1, "p_value": p_holm / 3, "p_holm": p_holm,
    }  # fmt: skip


BENCHMARK = {
    "benchmark": "gsm8k",
    "split": "test",
    "num_problems": 1319,
    "scores": [score("A", 0.2, 0.22, paper=PAPER), score("R", 0.21, 0.23), score(HOSTILE, 0.4, 0.44)],
    "differences": [
        pair("A", "R", 0.01, 0.9),
        pair("A", HOSTILE, 0.21, 0.001),
        pair("R", HOSTILE, 0.2, 0.00001),
    ],
}
STATISTICS = {
    "version": "0.1.0",
    "num_resamples": 10_000,
    "mixes": [
        {"name": "A", "rows": 100, "tokens": 5000, "by_type": {"GSM_AnsAug": 100}},
        {"name": "R", "rows": 50, "tokens": 2600, "by_type": {"GSM_Rephrased": 50, "GSM_AnsAug": 0}},
        {"name": HOSTILE, "rows": 100, "tokens": 5200, "by_type": {"GSM_AnsAug": 40, HOSTILE: 60}},
    ],
    "benchmarks": [BENCHMARK],
    "paper": {"model": "LLaMA-2-7B", "numbers": [PAPER]},
}


def write(folder, **changes):
    (folder / "statistics.json").write_text(json.dumps(STATISTICS | changes))
    return folder


def sections(page):
    return dict(re.findall(r'<section id="(\w+)"(.*?)</section>', page, re.DOTALL))


def test_the_page_has_accuracy_differences_rows_and_the_papers_numbers(tmp_path):
    found = sections(write_ablation_report(write(tmp_path)).read_text())
    assert list(found) == ["accuracy", "differences", "rows", "paper", "run"]
    assert found["accuracy"].count('class="mix-plot"') == 3
    assert found["accuracy"].count("<u ") == 6
    assert "59.6 %" in found["accuracy"]
    assert "<b>+21.0</b>" in found["differences"]
    assert "−21.0" in found["differences"]
    assert "<b>+1.0</b>" not in found["differences"]
    assert "GSM_Rephrased" in found["rows"]
    assert "LLaMA-2-7B" in found["paper"]


def test_the_head_says_which_mix_leads_and_whether_chance_would_give_as_much(tmp_path):
    page = " ".join(write_ablation_report(write(tmp_path)).read_text().split("</header>")[0].split())
    assert (
        "42.0 %</b>, 20.0 points more than the next mix, R: more than chance would give (p &lt; 0.0001)"
        in page
    )
    unsure = BENCHMARK | {"scores": BENCHMARK["scores"][:2], "differences": BENCHMARK["differences"][:1]}
    page = " ".join(write_ablation_report(write(tmp_path, benchmarks=[unsure])).read_text().split())
    assert "1.0 points more than the next mix, A: chance may give as much (p = 0.90)" in page


def test_names_are_shown_and_never_read_as_markup_and_no_script_runs(tmp_path):
    page = write_ablation_report(write(tmp_path)).read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4


def test_the_same_file_gives_the_same_bytes(tmp_path):
    first = write_ablation_report(write(tmp_path)).read_bytes()
    assert write_ablation_report(tmp_path).read_bytes() == first


def test_a_single_mix_with_a_single_seed_has_nothing_to_compare_and_a_warning(tmp_path):
    alone = BENCHMARK | {"scores": [score("A", 0.2)], "differences": []}
    found = sections(write_ablation_report(write(tmp_path, benchmarks=[alone])).read_text())
    assert "there is nothing to compare" in found["differences"]
    assert "<table" not in found["differences"]
    assert "interval over problems alone" in found["accuracy"]
    assert "<u " not in found["accuracy"]


def test_without_numbers_of_the_paper_there_is_no_section_of_them(tmp_path):
    page = write_ablation_report(write(tmp_path, paper={"model": "LLaMA-2-7B", "numbers": []})).read_text()
    assert "paper" not in sections(page)
    assert 'href="#paper"' not in page


def test_options_are_shown_without_secrets_where_there_is_a_configuration(tmp_path):
    (tmp_path / "config.yaml").write_text("model: tiny\napi_key: s3cr3t\n")
    page = write_ablation_report(write(tmp_path)).read_text()
    assert "tiny" in sections(page)["run"]
    assert "s3cr3t" not in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "statistics.json is missing; the ablation job writes it"),
        ("{", "statistics.json is no JSON"),
        ("{}", "version: Field required"),
        (json.dumps(STATISTICS | {"benchmarks": []}), "benchmarks: Tuple should have at least 1 item"),
    ],
    ids=["missing", "no-json", "empty", "no-benchmark"],
)
def test_a_folder_without_statistics_is_named(tmp_path, text, message):
    if text is not None:
        (tmp_path / "statistics.json").write_text(text)
    with pytest.raises(BadReportInputError, match=re.escape(message)):
        write_ablation_report(tmp_path)


def test_every_interval_and_seed_lies_on_the_axis():
    plot = make_dot_plot(BenchmarkScores.model_validate(BENCHMARK).scores)
    for one in plot.mixes:
        assert 0 <= one.low < one.mean < one.high <= 1
        assert all(0 <= place <= 1 for place in one.seeds)
    assert plot.mixes[0].seeds[0] < plot.mixes[0].mean < plot.mixes[0].seeds[1]


def test_a_dot_plot_of_equal_values_has_an_axis():
    exact = score("A", 0.0) | {"interval": {"low": 0.0, "high": 0.0}}
    assert (
        len(make_dot_plot(BenchmarkScores.model_validate(BENCHMARK | {"scores": [exact]}).scores).ticks) > 1
    )


def test_the_matrix_is_the_line_less_the_column_both_ways():
    matrix = dict(make_matrix(BenchmarkScores.model_validate(BENCHMARK)))
    assert matrix["A"][0] is None
    there, back = matrix["R"][0], matrix["A"][1]
    assert (there.difference, there.low, there.high) == pytest.approx((0.01, -0.03, 0.07))
    assert (back.difference, back.low, back.high) == pytest.approx((-0.01, -0.07, 0.03))
    assert [cell.seen for cell in matrix[HOSTILE][:2]] == [True, True]
    assert not there.seen


def test_a_type_has_one_colour_in_all_bars_and_bars_are_as_long_as_mixes_are_large():
    types, bars = make_type_bars([MixRows.model_validate(mix) for mix in STATISTICS["mixes"]])
    assert [name for name, _ in types] == ["GSM_AnsAug", "GSM_Rephrased", HOSTILE]
    assert [bar.width for bar in bars] == [1.0, 0.5, 1.0]
    assert bars[0].parts[0].style == bars[2].parts[0].style
    assert [part.type for part in bars[1].parts] == ["GSM_Rephrased"]
