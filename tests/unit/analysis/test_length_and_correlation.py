import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metamath_ray.analysis import AnalysisOptions, plan_analysis, run_analyses
from metamath_ray.analysis._statistics import (
    Interval,
    difference_interval,
    mean_interval,
    pearson,
    pearson_interval,
    ratio_interval,
    wilson_interval,
)


def write_predictions(path, verdicts, *, samples=0, **changes):
    rows = [
        {"problem_id": f"p{i}", "sample_index": sample, "question_chars": 100 - i,
         "verdict_fixed": verdict if sample == 0 else "correct", "verdict_paper": "incorrect"}
        for i, verdict in enumerate(verdicts) for sample in range(samples + 1)
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    pq.write_table(table.drop_columns([*changes.get("without", ())]), path)


def run(tmp_path, **options):
    summary = run_analyses(plan_analysis(AnalysisOptions(output=tmp_path / "out", **options)))
    return json.loads(summary.read_text())


def test_thirds_run_from_short_to_long_questions_and_leave_samples_out(tmp_path):
    # the last problems have the shortest questions
    verdicts = ["incorrect"] * 3 + ["correct", "incorrect", "correct"] + ["correct"] * 4
    write_predictions(tmp_path / "eval" / "predictions" / "gsm8k.parquet", verdicts, samples=2)
    summary = run(tmp_path, analyses=("length",), evaluations=(tmp_path / "eval",))
    fixed = summary["length"]["scores"][0]
    assert (fixed["evaluation"], fixed["benchmark"], fixed["rules"], fixed["n"]) == (
        "eval",
        "gsm8k",
        "fixed",
        10,
    )
    assert [(third["n"], third["correct"]) for third in fixed["thirds"]] == [(3, 3), (3, 2), (4, 1)]
    assert [third["shortest"] for third in fixed["thirds"]] == [91, 94, 97]
    assert fixed["fall"] == 0.75
    rows = pq.read_table(tmp_path / "out" / "length.parquet").to_pylist()
    assert len(rows) == 10
    assert {row["problem_id"] for row in rows if row["third"] == "long"} == {"p0", "p1", "p2", "p3"}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.mkdir(), r"holds no \*\.parquet"),
        (
            lambda folder: write_predictions(
                folder / "predictions" / "x.parquet", ["correct"] * 3, without=["question_chars"]
            ),
            "has no column 'question_chars'",
        ),
        (
            lambda folder: write_predictions(folder / "predictions" / "x.parquet", ["correct"] * 2),
            "holds 2 problems",
        ),
    ],
    ids=["missing", "empty", "column", "too-few"],
)
def test_predictions_that_can_not_be_used_are_named(tmp_path, prepare, message):
    prepare(tmp_path / "eval")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(tmp_path, analyses=("length",), evaluations=(tmp_path / "eval",))
    assert not (tmp_path / "out").exists()


MIXES = [("ansaug", 0.05, 0.1), ("rephrased", 0.31, 0.4), ("fobar", 0.84, 2.3), ("sv", 0.8, 2.6)]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
def test_the_correlation_is_numpys_from_any_kind_of_table(tmp_path, kind):
    names = ("mix", "diversity_gain", "accuracy_gain")
    records = [dict(zip(names, mix, strict=True)) for mix in MIXES]
    path = tmp_path / f"mixes.{kind}"
    if kind == "csv":
        path.write_text("\n".join([",".join(names), *(",".join(map(str, mix)) for mix in MIXES)]))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        path.write_text(json.dumps(records) if kind == "json" else "\n".join(map(json.dumps, records)))
    result = run(tmp_path, analyses=("correlation",), mixes=path)["correlation"]
    wanted = np.corrcoef([mix[1] for mix in MIXES], [mix[2] for mix in MIXES])[0, 1]
    assert result["n"] == 4
    assert result["pearson"] == pytest.approx(wanted)
    assert -1 <= result["interval"]["low"] < wanted < result["interval"]["high"] <= 1
    slope, intercept = np.polyfit([mix[1] for mix in MIXES], [mix[2] for mix in MIXES], 1)
    assert (result["slope"], result["intercept"]) == (pytest.approx(slope), pytest.approx(intercept))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mix,accuracy\na,1\nb,2\nc,3", "has no column 'diversity_gain', only mix, accuracy"),
        ("mix,diversity_gain\na,1\nb,2\nc,3", "has no column 'accuracy'"),
        ("mix,diversity_gain,accuracy\na,1,2\nb,x,3\nc,1,1", "diversity_gain must be a number, got 'x'"),
        ("mix,diversity_gain,accuracy\na,1,2\nb,2,3", "holds 2 mixes; a correlation needs at least 3"),
        ("mix,diversity_gain,accuracy\na,1,2\nb,1,3\nc,1,4", "needs values that vary"),
    ],
    ids=["no-gain", "no-accuracy", "no-number", "too-few", "constant"],
)
def test_a_bad_table_of_mixes_is_one_line(tmp_path, text, message):
    (tmp_path / "mixes.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        run(tmp_path, analyses=("correlation",), mixes=tmp_path / "mixes.csv")
    assert not (tmp_path / "out").exists()


def test_intervals_are_those_of_the_textbook():
    assert wilson_interval(0, 0) == Interval(0.0, 1.0)
    ten = wilson_interval(3, 10)
    assert (round(ten.low, 4), round(ten.high, 4)) == (0.1078, 0.6032)
    newcombe = difference_interval((56, 70), (48, 80))  # Newcombe 1998, table II (a), method 10
    assert (round(newcombe.low, 4), round(newcombe.high, 4)) == (0.0524, 0.3339)
    fisher = pearson_interval(0.5, 28)
    assert (round(fisher.low, 3), round(fisher.high, 3)) == (0.156, 0.736)
    assert pearson_interval(0.9, 3) is None
    assert mean_interval(np.array([1.0])) is None


def test_the_interval_of_a_ratio_covers_it_in_95_of_100_draws():
    draw = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        tokens = draw.integers(20, 200, 300).astype(float)
        nlls = tokens * draw.gamma(9.0, 1.5 / 9.0, 300)
        interval = ratio_interval(nlls, tokens)
        hits += interval.low <= 1.5 <= interval.high
    assert 0.92 <= hits / 400 <= 0.98


def test_pearson_of_a_line_is_one():
    assert pearson([1.0, 2.0, 4.0], [3.0, 5.0, 9.0]) == 1.0
    assert math.isclose(pearson([1.0, 2.0, 3.0], [3.0, 1.0, -1.0]), -1.0)
