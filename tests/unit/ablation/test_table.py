import csv
import json
import re

import numpy as np
import pytest

from metamath_ray.ablation._outcomes import MixInfo, Outcome
from metamath_ray.ablation._paper_numbers import find_paper_number, find_paper_numbers
from metamath_ray.ablation._report import write_report

KINDS = {"SFT": ["SFT"], "A": ["AnsAug"], "A+R+SV+FOBAR": ["AnsAug", "Rephrased", "SV", "FOBAR"]}
FILES = {"statistics.json", "table.csv", "pairs.csv", "table.tex", "table.md", "report.html"}


def info(name, *, source="GSM", kinds=None):
    return MixInfo(name, 1200, 34_567, {f"{source}_{kind}": 300 for kind in kinds or KINDS[name]})


def outcomes_of(mixes, benchmarks, *, seeds=3, problems=60):
    rng = np.random.default_rng(0)
    return [
        Outcome(mix, seed, name, tuple(f"{name}-{n}" for n in range(problems)), tuple((rng.random(problems) < share).tolist()))
        for name in benchmarks
        for mix, share in zip(mixes, np.linspace(0.2, 0.6, len(mixes)), strict=True)
        for seed in range(seeds)
    ]  # fmt: skip


@pytest.fixture
def report(tmp_path):
    mixes = [info(name) for name in KINDS]
    outcomes = outcomes_of(KINDS, ["dev", "gsm8k"])
    found = write_report(
        tmp_path / "new" / "out", outcomes, mixes, splits={"dev": "dev", "gsm8k": "test", "math": "test"}
    )
    return tmp_path / "new" / "out", outcomes, found


def read(folder, name):
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_report_is_these_files_and_gives_what_its_statistics_hold(report):
    folder, _, found = report
    assert {path.name for path in folder.iterdir()} == FILES
    stored = json.loads((folder / "statistics.json").read_text())
    stored.pop("version")
    assert stored == json.loads(json.dumps(found))


def test_the_same_outcomes_in_any_order_give_the_same_bytes(report, tmp_path):
    folder, outcomes, _ = report
    mixes = [info(name) for name in KINDS]
    splits = {"dev": "dev", "gsm8k": "test", "math": "test"}
    write_report(tmp_path / "again", outcomes[::-1], mixes, splits=splits)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


def test_the_csv_has_a_line_for_each_mix_and_benchmark(report):
    folder, outcomes, _ = report
    lines = read(folder, "table.csv")
    assert [(line["benchmark"], line["mix"]) for line in lines] == [
        (b, m) for b in ("dev", "gsm8k") for m in KINDS
    ]
    mine = [one for one in outcomes if (one.benchmark, one.mix) == ("gsm8k", "A")]
    line = next(line for line in lines if (line["benchmark"], line["mix"]) == ("gsm8k", "A"))
    assert float(line["accuracy"]) == pytest.approx(np.mean([one.accuracy for one in mine]), abs=1e-6)
    assert float(line["low"]) < float(line["accuracy"]) < float(line["high"])
    assert [part.split("=")[0] for part in line["seed_accuracies"].split()] == ["0", "1", "2"]
    assert (line["split"], line["rows"], line["tokens"], line["problems"], line["seeds"]) == (
        "test",
        "1200",
        "34567",
        "60",
        "3",
    )
    assert (line["interval_over"], line["paper_accuracy"]) == ("seeds and problems", "0.596")
    assert line["paper_source"] == "LLaMA-2-7B on GSM8K rows, Table 1"


def test_every_two_mixes_of_a_benchmark_are_a_line_of_the_pairs(report):
    lines = read(report[0], "pairs.csv")
    assert len(lines) == 6
    assert all(float(line["p_value"]) <= float(line["p_holm"]) <= 1 for line in lines)
    extremes = next(
        line
        for line in lines
        if (line["benchmark"], line["first"], line["second"]) == ("gsm8k", "SFT", "A+R+SV+FOBAR")
    )
    assert float(extremes["difference"]) > 0.2


def test_papers_numbers_stand_beside_test_sets_and_never_beside_dev(report):
    by_place = {
        (line["benchmark"], line["mix"]): line["paper_accuracy"] for line in read(report[0], "table.csv")
    }
    assert by_place["gsm8k", "A+R+SV+FOBAR"] == "0.644"
    assert by_place["dev", "A+R+SV+FOBAR"] == ""


def test_the_markdown_is_a_table_with_a_line_for_each_mix(report):
    lines = (report[0] / "table.md").read_text().splitlines()
    assert lines[0] == "| mix | rows | dev, 60 problems | gsm8k, 60 problems | paper, gsm8k |"
    assert lines[1] == "| --- | --- | --- | --- | --- |"
    assert [line.count("|") for line in lines[:5]] == [6] * 5
    assert re.match(r"\| SFT \| 1,200 \| \d+\.\d % \(\d+\.\d to \d+\.\d\) \|.*\| 41\.6 % \|$", lines[2])
    assert "3 seeds" in lines[-1]
    assert "LLaMA-2-7B" in lines[-1]


def test_the_latex_has_as_many_cells_in_each_line_as_columns(report):
    text = (report[0] / "table.tex").read_text()
    columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", text)[1])
    assert columns == 2 + 2 + 3
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert [line.count("&") for line in body] == [columns - 1] * 3
    assert r"\cmidrule(lr){3-4}\cmidrule(lr){5-7}" in text
    assert "41.6" in text


def test_names_cannot_break_latex_markdown_or_the_page(tmp_path):
    name = "a_b&50%|<script>alert(1)</script>"
    mixes = [MixInfo(name, 1, 2, {"x|y_<b>": 1}), info("A")]
    write_report(tmp_path, outcomes_of([name, "A"], ["b#1"]), mixes, splits={"b#1": "test"})
    assert r"a\_b\&50\%|<script>" in (tmp_path / "table.tex").read_text()
    assert r"b\#1" in (tmp_path / "table.tex").read_text()
    row = (tmp_path / "table.md").read_text().splitlines()[2]
    assert re.sub(r"\\.", "", row).count("|") == 4
    assert "<script" not in (tmp_path / "report.html").read_text()
    assert read(tmp_path, "table.csv")[0]["mix"] == name


def test_one_seed_is_said_to_leave_seeds_out(tmp_path):
    write_report(tmp_path, outcomes_of(["A"], ["b"], seeds=1), [info("A")], splits={"b": "test"})
    assert "one seed a mix, with its 95 % interval over problems alone" in (tmp_path / "table.md").read_text()
    assert read(tmp_path, "table.csv")[0]["interval_over"] == "problems"
    assert read(tmp_path, "pairs.csv") == []


def test_a_mix_that_was_not_chosen_for_the_test_set_has_a_dash_there(tmp_path):
    outcomes = [
        one for one in outcomes_of(["SFT", "A"], ["dev", "t"]) if (one.mix, one.benchmark) != ("SFT", "t")
    ]
    write_report(tmp_path, outcomes, [info("SFT"), info("A")], splits={"dev": "dev", "t": "test"})
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[2].endswith("| – |")
    assert "& -- &" in (tmp_path / "table.tex").read_text()


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [([], "there is no outcome to report"), (outcomes_of(["B"], ["b"]), "the mix must be one of A, got 'B'")],
    ids=["none", "unknown-mix"],
)
def test_outcomes_without_a_table_are_refused_before_anything_is_written(tmp_path, outcomes, message):
    with pytest.raises(ValueError, match=message):
        write_report(tmp_path / "out", outcomes, [info("A")], splits={"b": "test"})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("mix", "benchmark", "expected"),
    [
        (info("SFT"), "gsm8k", 0.416),
        (info("A"), "math", 0.044),
        (info("A", source="MATH"), "gsm8k", 0.284),
        (info("A+R+SV+FOBAR", source="MATH"), "math", 0.177),
        (info("RFT", kinds=["RFT"]), "gsm8k", 0.503),
        (info("RFT", kinds=["RFT"]), "math", None),
        (info("incorrect", kinds=["incorrect"]), "gsm8k", 0.436),
        (info("correct", kinds=["RFT"]), "gsm8k", 0.522),
        (info("A", source="BUNDLED"), "gsm8k", None),
        (info("A", kinds=["SV"]), "gsm8k", None),
        (info("A"), "gsm8k_backward", None),
        (info("A-500", kinds=["AnsAug"]), "gsm8k", None),
        (MixInfo("A", 2, 2, {"GSM_AnsAug": 1, "MATH_AnsAug": 1}), "gsm8k", None),
    ],
    ids=[
        "sft", "on-math", "math-rows", "all-of-math", "rft", "rft-on-math", "incorrect", "correct", "bundled-rows",
        "other-rows-of-that-name", "other-benchmark", "other-name", "rows-of-both",
    ],
)  # fmt: skip
def test_the_papers_number_is_that_of_the_same_mix_rows_and_test_set(mix, benchmark, expected):
    number = find_paper_number(mix, benchmark, split="test")
    assert (number and number.accuracy[benchmark]) == expected


def test_a_mix_of_other_sources_has_both_rows_of_the_paper_to_compare_the_order():
    numbers = find_paper_numbers([info("A", source="BUNDLED"), info("SFT")])
    assert [(one.mix, one.data) for one in numbers] == [("A", "GSM8K"), ("A", "MATH"), ("SFT", "GSM8K")]
