"""Saved predictions again: graded anew without a model, compared with another run, summed up."""

import json
import time
from dataclasses import replace

import pytest

from metamath_ray.evaluation import (
    BadPredictionsError,
    Provenance,
    compare_benchmark,
    compare_evaluations,
    grade_predictions,
    load_all_predictions,
    load_predictions,
    load_provenance,
    mcnemar_exact,
    predictions_path,
    regrade,
    score_benchmark,
    write_comparison,
    write_predictions,
    write_summary,
)

from .conftest import make_prediction

PROVENANCE = Provenance({"name": "m"}, {"name": "vllm", "version": "0"})


def save(output, predictions, name="gsm8k"):
    path = write_predictions(predictions_path(output, name), predictions, num_expected=len(predictions))
    scores = [score_benchmark(name, predictions)]
    write_summary(output, scores, grader="fixed", provenance=PROVENANCE, seconds=1.0)
    return path


def run_of(verdicts, **changes):
    return [make_prediction(str(n), verdict_fixed=one, **changes) for n, one in enumerate(verdicts)]


def test_regrade_needs_no_model_and_counts_what_changed(tmp_path):
    stale = [
        make_prediction("a", completion="The answer is: 4", expected="4", verdict_fixed="incorrect"),
        make_prediction("b", completion="The answer is: 4", expected="5", verdict_fixed="incorrect"),
    ]
    path = save(tmp_path, stale)
    made = regrade(tmp_path)["gsm8k"]
    assert [one.verdict_fixed for one in made.predictions] == ["correct", "incorrect"]
    assert made.num_changed == {"fixed": 1, "paper": 2}
    assert load_predictions(path) == made.predictions


def test_regrade_of_what_is_right_leaves_the_file_alone(tmp_path):
    path = save(tmp_path, grade_predictions([make_prediction("a"), make_prediction("b")]))
    before = path.stat().st_mtime_ns
    assert regrade(tmp_path)["gsm8k"].num_changed == {"fixed": 0, "paper": 0}
    assert path.stat().st_mtime_ns == before


def test_regrade_without_predictions_is_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match=r"summary\.json is missing"):
        regrade(tmp_path)
    path = save(tmp_path, [make_prediction("a")])
    path.unlink()
    with pytest.raises(BadPredictionsError, match=r"gsm8k\.parquet is missing"):
        regrade(tmp_path)


def test_a_table_that_the_summary_does_not_name_is_of_another_run(tmp_path):
    save(tmp_path, run_of(["correct"]), "math")  # of the model that was in its place before
    save(tmp_path, run_of(["correct"]), "gsm8k")
    assert list(load_all_predictions(tmp_path)) == list(regrade(tmp_path)) == ["gsm8k"]
    assert [one.name for one in compare_evaluations(tmp_path, tmp_path)] == ["gsm8k"]


def test_regrade_of_gsm8k_takes_less_than_a_second_of_cpu(tmp_path):
    one = make_prediction(
        completion="Step by step. " * 60 + "\n#### 1,234\nThe answer is: 1,234", expected="1234"
    )
    save(tmp_path, [replace(one, problem_id=f"gsm8k-test-{number}") for number in range(1319)])
    start = time.process_time()
    made = regrade(tmp_path)["gsm8k"].predictions
    assert time.process_time() - start < 1.0
    assert {one.verdict_fixed for one in made} == {"correct"}


def test_a_comparison_pairs_by_problem():
    a = run_of(["correct", "correct", "incorrect", "correct", "no_answer"])
    b = run_of(["correct", "incorrect", "correct", "truncated", "incorrect"])
    made = compare_benchmark("gsm8k", a, list(reversed(b)))
    assert (made.fixed.correct_a, made.fixed.correct_b) == (3, 2)
    assert (made.fixed.only_a, made.fixed.only_b) == (2, 1)
    assert made.fixed.difference == pytest.approx(-1 / 5)
    assert made.fixed.p_value == mcnemar_exact(2, 1)
    assert made.fixed.num_other_verdicts == 4
    flips = [(flip.problem_id, flip.verdict_a, flip.verdict_b) for flip in made.fixed.flips]
    assert flips == [
        ("1", "correct", "incorrect"),
        ("2", "incorrect", "correct"),
        ("3", "correct", "truncated"),
    ]


def test_a_comparison_counts_what_is_not_the_same():
    a = run_of(["correct", "correct", "incorrect", "no_answer"])
    b = run_of(["correct", "incorrect", "incorrect", "truncated"], verdict_paper="incorrect")
    b = [replace(one, completion="other") if one.problem_id in "12" else one for one in b]
    b[3] = replace(b[3], prompt="asked in other words")
    made = compare_benchmark("gsm8k", a, b)
    assert (made.num_other_completions, made.num_other_prompts) == (2, 1)
    assert (made.fixed.num_other_verdicts, len(made.fixed.flips)) == (2, 1)
    assert (made.paper.num_other_verdicts, len(made.paper.flips)) == (4, 0)


def test_a_run_against_itself_differs_in_nothing():
    run = run_of(["correct", "incorrect"])
    made = compare_benchmark("gsm8k", run, run)
    assert (made.num_other_completions, made.num_other_prompts, made.fixed.num_other_verdicts) == (0, 0, 0)
    assert (made.fixed.difference, made.fixed.p_value, made.fixed.flips) == (0.0, 1.0, ())


def test_only_problems_of_both_runs_are_compared():
    made = compare_benchmark("gsm8k", run_of(["correct"] * 5), run_of(["correct"] * 3))
    assert (made.n, made.missing_in_a, made.missing_in_b) == (3, 0, 2)


def test_one_id_for_two_problems_is_refused():
    with pytest.raises(ValueError, match="0 is not the same problem in both"):
        compare_benchmark("gsm8k", run_of(["correct"]), run_of(["correct"], question="Another?"))


def test_runs_without_a_common_benchmark_are_refused(tmp_path):
    save(tmp_path / "a", run_of(["correct"]), "gsm8k")
    save(tmp_path / "b", run_of(["correct"]), "math")
    with pytest.raises(ValueError, match="share no benchmark: the first has gsm8k, the second math"):
        compare_evaluations(tmp_path / "a", tmp_path / "b")


def test_a_comparison_is_written_as_json(tmp_path):
    for name, verdict in [("a", "correct"), ("b", "incorrect")]:
        save(tmp_path / name, run_of([verdict]))
    made = compare_evaluations(tmp_path / "a", tmp_path / "b")
    path = write_comparison(made, a=tmp_path / "a", b=tmp_path / "b", output=tmp_path)
    paired = json.loads(path.read_text())["benchmarks"]["gsm8k"]["fixed"]
    assert (paired["only_a"], paired["flips"][0]["problem_id"]) == (1, "0")


def test_the_summary_is_stable_and_says_what_it_is_of(tmp_path):
    scores = [score_benchmark("gsm8k", run_of(["correct", "no_answer"], verdict_paper="incorrect"))]
    paths = [
        write_summary(tmp_path / name, scores, grader="fixed", provenance=PROVENANCE, seconds=1.5)
        for name in "ab"
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    document = json.loads(paths[0].read_text())
    headline = document["benchmarks"]["gsm8k"]
    assert (headline["n"], headline["correct"], headline["accuracy"], headline["no_answer"]) == (2, 1, 0.5, 1)
    assert headline["paper"]["total"]["accuracy"] == 0.0
    assert set(document["graders"]) == {"metamath_ray", "math-verify", "latex2sympy2_extended", "sympy"}
    assert load_provenance(tmp_path / "a") == PROVENANCE


def test_the_headline_is_of_the_grader_that_was_chosen(tmp_path):
    scores = [score_benchmark("gsm8k", run_of(["correct"], verdict_paper="incorrect"))]
    path = write_summary(tmp_path, scores, grader="paper", provenance=PROVENANCE, seconds=1.0)
    assert json.loads(path.read_text())["benchmarks"]["gsm8k"]["accuracy"] == 0.0


@pytest.mark.parametrize("content", ["{", "[]", '{"model": {}}'], ids=["cut", "a list", "another file"])
def test_a_summary_that_is_none_is_one_clear_line(tmp_path, content):
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(ValueError, match=r"summary\.json"):
        load_provenance(tmp_path)
