"""The page of a build: what it says equals the summary, and nothing in a reply acts on it."""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from metamath_ray.reports import write_build_report

from .conftest import HOSTILE, SECRET, Page, make_candidates, write_run


class BuildPage(Page):
    @property
    def samples(self) -> list[dict[str, Any]]:
        return list(json.loads(self.scripts[0]))


@pytest.fixture
def page(run_dir: Path) -> BuildPage:
    return BuildPage(write_build_report(run_dir).read_text(encoding="utf-8"))


def summary_of(run_dir: Path) -> dict[str, Any]:
    return dict(json.loads((run_dir / "summary.json").read_text()))


def test_hostile_replies_add_no_element_to_the_page(page: BuildPage) -> None:
    kinds = Counter(tag for tag, _ in page.tags)
    assert (kinds["script"], kinds["img"]) == (2, 0)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_a_hostile_example_is_shown_as_it_came(page: BuildPage) -> None:
    assert HOSTILE[0] in page.words


def test_every_hostile_text_survives_the_embedded_json(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", make_candidates(40))
    page = BuildPage(write_build_report(run_dir).read_text(encoding="utf-8"))
    for text in HOSTILE:
        assert any(text in sample["question"] for sample in page.samples)


def test_the_embedded_json_holds_no_markup_and_no_line_separator(page: BuildPage) -> None:
    assert not re.search("[<>&\u2028\u2029]", page.scripts[0])


def test_the_content_policy_admits_the_pages_own_script_alone(page: BuildPage) -> None:
    policy = next(a["content"] or "" for tag, a in page.tags if a.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_the_page_loads_nothing(page: BuildPage) -> None:
    assert not [a for _, a in page.tags if "src" in a or not (a.get("href") or "#").startswith("#")]


def test_headline_figures_equal_the_summary(run_dir: Path) -> None:
    text = write_build_report(run_dir).read_text(encoding="utf-8")
    summary = summary_of(run_dir)
    correct, paths = (
        sum(counts[name] for counts in summary["by_type"].values()) for name in ("correct", "paths")
    )
    assert dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>\s*<dd", text)) == {
        "Rows": f"{summary['rows']:,}",
        "Seed problems": "321",
        "Acceptance": f"{100 * correct / paths:.1f} %",
        "Calls made": "4,321",
        "Tokens": "2,691,356",
        "Money": "$2.50",
        "Time": "1 h 2 min",
    }
    assert summary["dataset_sha256"] in text


def test_every_yield_equals_the_summary(run_dir: Path) -> None:
    text = write_build_report(run_dir).read_text(encoding="utf-8")
    section = text[text.index('id="yields"') : text.index('id="dropped"')]
    for kind, counts in summary_of(run_dir)["by_type"].items():
        row = re.search(rf'<th scope="row">{kind}</th>(.*?)</tr>', section, re.DOTALL)
        assert row
        cells = re.findall(r"<td>(?:<b>)?([^<]*)", row[1])
        names = (
            "questions",
            "unusable_questions",
            "paths",
            "correct",
            "incorrect",
            "no_answer",
            "truncated",
            "failed",
        )
        wanted = [str(counts[name]) for name in (*names, "selected")]
        target = "–" if counts["target"] is None else str(counts["target"])
        assert cells == [f"{100 * counts['correct'] / counts['paths']:.1f} %", *wanted, target]


def test_costs_by_type_add_up_the_candidates(run_dir: Path) -> None:
    text = write_build_report(run_dir).read_text(encoding="utf-8")
    row = re.search(
        r'<tfoot><tr><th scope="row">All types</th>(.*?)</tr>', text[text.index('id="costs"') :], re.DOTALL
    )
    assert row
    cells = re.findall(r"<td>(?:<b>)?([^<]*)", row[1])
    candidates = make_candidates(600)
    completion = sum(candidate["completion_tokens"] for candidate in candidates)
    rows = summary_of(run_dir)["rows"]
    assert cells[:4] == ["420,000", f"{completion:,}", f"{rows:,}", f"{(420_000 + completion) / rows:,.0f}"]
    assert cells[4] == f"${(420_000 * 0.5 + completion * 1.5) / 1e6:.2f}"


def test_paths_that_are_not_accounted_for_are_said(run_dir: Path, edit_summary: Callable[..., None]) -> None:
    assert "not accounted for" not in write_build_report(run_dir).read_text()
    edit_summary(dropped={})
    assert "not accounted for" in write_build_report(run_dir).read_text()


def test_no_secret_of_the_options_reaches_the_page(run_dir: Path) -> None:
    text = write_build_report(run_dir).read_text(encoding="utf-8")
    assert SECRET not in text
    assert "http://127.0.0.1:8000/v1" in text
    assert "(not shown)" in text


def test_samples_have_every_type_and_verdict(page: BuildPage) -> None:
    there = {(sample["type"], sample["verdict"]) for sample in page.samples}
    assert len(page.samples) == 400
    assert {kind for kind, _ in there} == {
        f"{p}_{s}" for p in ("GSM", "MATH") for s in ("AnsAug", "Rephrased", "SV", "FOBAR")
    }
    assert {verdict for _, verdict in there} == {"correct", "incorrect", "no_answer", "truncated", "failed"}


def test_samples_do_not_depend_on_how_candidates_lie_in_files(tmp_path: Path) -> None:
    candidates = make_candidates(700)
    one = write_build_report(write_run(tmp_path / "one", candidates, num_files=1)).read_bytes()
    five = write_build_report(write_run(tmp_path / "five", candidates, num_files=5)).read_bytes()
    assert one == five


def test_samples_that_became_rows_are_marked(page: BuildPage, run_dir: Path) -> None:
    rows = set(pq.read_table(run_dir / "dataset").column("request_key").to_pylist())
    assert any(sample["selected"] for sample in page.samples)
    assert all(sample["selected"] == (sample["request_key"] in rows) for sample in page.samples)


def test_questions_that_could_not_be_built_are_no_samples(tmp_path: Path) -> None:
    candidates = [row | {"question": ""} for row in make_candidates(20)] + make_candidates(30, seed=1)
    page = BuildPage(write_build_report(write_run(tmp_path / "run", candidates)).read_text())
    assert len(page.samples) == 30


def test_endless_replies_leave_the_page_below_2_mb(tmp_path: Path) -> None:
    candidates = [row | {"response": "¾<&>\u2028" * 20_000} for row in make_candidates(450)]
    path = write_build_report(write_run(tmp_path / "run", candidates))
    assert path.stat().st_size < 2_000_000
    assert "more characters not shown" in path.read_text()


@pytest.mark.slow
def test_100_000_candidates_make_a_page_below_2_mb(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", make_candidates(1_000))
    table = pq.read_table(run_dir / "candidates")
    for part in range(100):
        ids = pa.array([f"{part}-{i}" for i in range(len(table))])
        part_table = table.set_column(0, "question_id", ids)
        pq.write_table(part_table, run_dir / "candidates" / f"part-1{part:04d}.parquet")
    assert write_build_report(run_dir).stat().st_size < 2_000_000


def test_a_build_without_any_path_still_has_a_page(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", make_candidates(10))
    for folder in ("candidates", "dataset"):
        for path in (run_dir / folder).glob("*.parquet"):
            pq.write_table(pq.read_table(path).slice(0, 0), path)
    summary = summary_of(run_dir) | {"by_type": {}, "rows": 0, "dropped": {}}
    (run_dir / "summary.json").write_text(json.dumps(summary))
    assert BuildPage(write_build_report(run_dir).read_text()).samples == []


def test_a_run_without_prices_shows_no_money(run_dir: Path, edit_summary: Callable[..., None]) -> None:
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config["teacher"] |= {"usd_per_million_prompt_tokens": 0, "usd_per_million_completion_tokens": 0}
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    edit_summary(ledger=summary_of(run_dir)["ledger"] | {"usd": 0})
    text = write_build_report(run_dir).read_text()
    assert "No price per token was set" in text
    assert "USD a row" not in text


LINE = {
    "paths": 200,
    "verdicts_differ": 17,
    "correct_paper": 96,
    "correct_fixed": 101,
    "correct_only_paper": 4,
    "correct_only_fixed": 9,
    "rows": 90,
    "rows_refused": 3,
    "points": -2.5,
}
SEED_LINE = {
    "seeds": 321,
    "masks_paper": 1400,
    "masks_fixed": 1300,
    "masks_only_paper": 210,
    "masks_only_fixed": 110,
    "seeds_masks_differ": 77,
    "clauses_differ": 66,
    "clauses_empty_paper": 55,
}


@pytest.mark.parametrize("compat", ["paper", "fixed"])
def test_the_page_says_on_how_many_paths_and_by_how_many_points_the_rules_differ(
    run_dir: Path, edit_summary: Callable[..., None], compat: str
) -> None:
    difference = {"by_type": {"GSM_SV": LINE}, "total": LINE, "seeds": SEED_LINE}
    edit_summary(compat=compat, compat_difference=difference)
    words = " ".join(BuildPage(write_build_report(run_dir).read_text(encoding="utf-8")).words.split())
    assert "On 17 of 200 paths the verdicts differ" in words
    assert "a difference of \N{MINUS SIGN}2.50 points (4 gained by the paper's rules, 9 lost)" in words
    refusing = "fixed" if compat == "paper" else "paper's"
    assert f"Of 90 selected rows, the {refusing} rules would refuse 3" in words
    assert "210 masks only the paper makes, 110 only the fixed rules, 77 seeds have other masks" in words
    assert "differs on 66 seeds; on 55 of them the paper's is empty" in words


def test_the_page_counts_rows_with_a_false_step(run_dir: Path, page: BuildPage) -> None:
    counts = {kind: each["false_steps"] for kind, each in summary_of(run_dir)["by_type"].items()}
    words = " ".join(page.words.split())
    assert f" selected rows, {sum(counts.values())} state plain arithmetic that does not hold" in words
    assert ", ".join(f"{kind} {count}" for kind, count in counts.items() if count) in words


def test_a_summary_without_the_difference_has_no_section_of_it(page: BuildPage) -> None:
    assert ("a", {"href": "#compat"}) not in page.tags


def test_the_page_warns_of_targets_that_were_not_met(
    run_dir: Path, edit_summary: Callable[..., None]
) -> None:
    miss = {"selected": 12, "target": 40, "why": "every question was sampled"}
    edit_summary(unmet_targets={"GSM_FOBAR": miss})
    words = BuildPage(write_build_report(run_dir).read_text(encoding="utf-8")).words
    assert "GSM_FOBAR has 12 of 40 rows asked for: every question was sampled." in words
