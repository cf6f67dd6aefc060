"""The pages of an evaluation and of a comparison: they say what the files say, and no completion acts on them."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from metamath_ray.evaluation import (
    Benchmark,
    Completion,
    EvaluationOptions,
    Prediction,
    Provenance,
    compare_evaluations,
    grade_predictions,
    plan_requests,
    predictions_path,
    score_benchmark,
    write_comparison,
    write_predictions,
    write_summary,
)
from metamath_ray.evaluation._predictions import ungraded_prediction
from metamath_ray.problems import Problem
from metamath_ray.reports import BadReportInputError, write_comparison_report, write_evaluation_report

from .conftest import HOSTILE, SECRET, Page

ACTIVE = ("script", "img", "iframe", "link", "object", "embed", "base")


class EvaluationPage(Page):
    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.scripts[0]))


def make_predictions(num: int, *, right: int, samples: int = 0) -> tuple[Prediction, ...]:
    """MATH problems of two subjects; every `right`-th completion is correct, the others try to break out."""
    problems = tuple(
        Problem(f"math-{n}", "math", "math", f"Find {n}. {HOSTILE[n % 4]}", str(n), "", f"Level {n % 5 + 1}", "Algebra" if n % 2 else "Geometry")
        for n in range(num)
    )  # fmt: skip
    options = EvaluationOptions(model="m", samples=samples)
    requests = plan_requests(
        Benchmark("math", problems, num), options=options, render=lambda p: f"P {p.question} A", identity={}
    )
    made = []
    for place, request in enumerate(requests):
        answer = request.problem.answer if place % right == 0 else "7777"
        text = f"{HOSTILE[place % 4]}\nThe answer is: {answer}"
        completion = Completion(
            request.key, request.problem.id, request.sample_index, text, "stop", 9, 9, 0.1
        )
        made.append(ungraded_prediction(request, completion))
    return grade_predictions(made)


def write_evaluation(folder: Path, predictions: tuple[Prediction, ...], *, model: str = "/m/tiny") -> Path:
    write_predictions(predictions_path(folder, "math"), predictions, num_expected=len(predictions))
    provenance = Provenance({"name": model}, {"name": "vllm", "api_key": SECRET})
    scores = [score_benchmark("math", predictions)]
    write_summary(folder, scores, grader="fixed", provenance=provenance, seconds=61.0)
    (folder / "config.yaml").write_text(yaml.safe_dump({"limit": 3, "base_url": f"http://u:{SECRET}@h/v1"}))
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return write_evaluation(tmp_path / "a", make_predictions(90, right=3))


@pytest.fixture
def page(output: Path) -> EvaluationPage:
    return EvaluationPage(write_evaluation_report(output).read_text(encoding="utf-8"))


@pytest.fixture
def comparison(tmp_path: Path, output: Path) -> EvaluationPage:
    other = write_evaluation(tmp_path / "b", make_predictions(90, right=2), model="/m/other")
    write_comparison(compare_evaluations(output, other), a=output, b=other, output=tmp_path)
    path = write_comparison_report(output, other, output=tmp_path, grader="fixed")
    return EvaluationPage(path.read_text(encoding="utf-8"))


def test_the_page_says_the_scores_of_the_summary(page):
    words = " ".join(page.words.split())
    assert "tiny on math" in words
    assert "30 of 90 greedy completions (33.3 %)" in words
    assert "24.5 % to 43.6 %" in words


def test_the_heat_map_has_every_subject_and_level(page):
    cells = [attrs for tag, attrs in page.tags if tag == "td" and attrs.get("class") == "heat"]
    assert len(cells) == 2 * 3 * 6  # two rule sets; two subjects and all; five levels and all
    assert all(word in page.words for word in ("Algebra", "Geometry", "Level 5"))


def test_the_browser_holds_every_wrong_answer_whole(page, output):
    assert len(page.data["items"]) == 60
    item = page.data["items"][0]
    before, after = page.data["templates"][item["template"]]
    assert before + item["question"] + after == f"P Find 1. {HOSTILE[1]} A"
    assert item["completion"] == f"{HOSTILE[1]}\nThe answer is: 7777"
    assert (item["expected"], item["extracted_fixed"], item["verdict_fixed"]) == ("1", "7777", "incorrect")


@pytest.mark.parametrize("name", ["page", "comparison"])
def test_nothing_in_a_completion_becomes_part_of_the_page(name, request):
    page = request.getfixturevalue(name)
    assert [tag for tag, _ in page.tags if tag in ACTIVE] == ["script", "script"]
    assert not any(attribute.startswith("on") for _, attrs in page.tags for attribute in attrs)
    assert HOSTILE[0] not in page.words


@pytest.mark.parametrize("name", ["page", "comparison"])
def test_only_the_pages_own_script_may_run_and_nothing_is_loaded(name, request):
    page = request.getfixturevalue(name)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    links = [attrs[name] for _, attrs in page.tags for name in ("src", "href") if name in attrs]
    assert all(link.startswith("#") for link in links)


def test_no_secret_is_shown(output):
    text = write_evaluation_report(output).read_text()
    assert SECRET not in text
    assert "http://h/v1" in text


def test_the_same_files_give_the_same_bytes(output):
    assert write_evaluation_report(output).read_bytes() == write_evaluation_report(output).read_bytes()


def test_many_long_completions_keep_the_page_small(tmp_path):
    wrong = make_predictions(1, right=2)[0]
    wrong = replace(wrong, completion="<" * 20_000, verdict_fixed="incorrect")
    many = tuple(replace(wrong, problem_id=f"p{number}") for number in range(900))
    path = write_evaluation_report(write_evaluation(tmp_path / "big", many))
    assert path.stat().st_size < 2_000_000
    assert re.search(r"\d+ of the 900 completions", EvaluationPage(path.read_text()).words)


def test_samples_are_shown_as_pass_and_maj(tmp_path):
    output = write_evaluation(tmp_path / "s", make_predictions(20, right=3, samples=4))
    words = EvaluationPage(write_evaluation_report(output).read_text()).words
    assert "pass@k" in words
    assert "4 samples of each problem" in words


def test_an_evaluation_without_a_wrong_answer_says_so(tmp_path):
    page = EvaluationPage(
        write_evaluation_report(write_evaluation(tmp_path / "s", make_predictions(4, right=1))).read_text()
    )
    assert page.data["items"] == []
    assert "Every completion is correct under both rule sets" in page.words


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", None),
        ("summary.json", "{"),
        ("summary.json", "{}"),
        ("predictions/math.parquet", None),
        ("predictions/math.parquet", "no table"),
        ("config.yaml", "- a list"),
    ],
)
def test_a_file_that_is_missing_or_bad_is_one_clear_line(output, name, content):
    (output / name).unlink()
    if content is not None:
        (output / name).write_text(content)
    with pytest.raises(BadReportInputError, match=Path(name).name) as caught:
        write_evaluation_report(output)
    assert "\n" not in str(caught.value)


def test_a_comparison_shows_the_difference_and_the_flipped_items(comparison):
    words = " ".join(comparison.words.split())
    assert "tiny against other" in words
    assert "+16.7" in words  # 45 of 90 against 30 of 90
    items = comparison.data["items"]
    assert len(items) == 45  # right in A at 0, 3, 6, …, in B at 0, 2, 4, …: 15 in both, 15 and 30 alone
    assert all(
        (item["verdict_fixed"] == "correct") != (item["verdict_fixed_b"] == "correct") for item in items
    )


def test_a_comparison_that_was_not_made_is_one_clear_line(output, tmp_path):
    with pytest.raises(BadReportInputError, match=r"comparison.json is missing"):
        write_comparison_report(output, output, output=tmp_path, grader="fixed")
