"""The golden cases: pairs and replies by category, each with the verdict that the rules demand."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from metamath_ray.answers import equal, extract

CASES = Path(__file__).parent / "cases"


def load(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASES / name).read_text(encoding="utf-8").splitlines()]


def readable(case: dict[str, Any]) -> str:
    return f"{case['category']}-{case['source']}-{case['predicted'][:30]!a}-{case['gold'][:30]!a}"


@pytest.mark.parametrize("case", load("fixed.jsonl"), ids=readable)
def test_fixed_verdict_is_the_golden_one(case: dict[str, Any]) -> None:
    comparison = equal(case["predicted"], case["gold"], source=case["source"])
    assert comparison.verdict == case["verdict"], case.get("why", comparison)


@pytest.mark.parametrize("case", load("paper.jsonl"), ids=readable)
def test_paper_verdict_is_the_original_behaviour(case: dict[str, Any]) -> None:
    comparison = equal(case["predicted"], case["gold"], source=case["source"], rules="paper")
    assert comparison.verdict == case["verdict"], case.get("why", comparison)


@pytest.mark.parametrize(
    "case", load("extract.jsonl"), ids=lambda case: f"{case['rules']}-{case['source']}-{case['text'][-40:]!a}"
)
def test_extraction_gives_the_golden_answer(case: dict[str, Any]) -> None:
    assert extract(case["text"], case["source"], rules=case["rules"]) == case["extracted"], case.get("why")


def test_golden_files_hold_enough_distinct_pairs_in_every_category() -> None:
    for name, least in (("fixed.jsonl", 400), ("paper.jsonl", 150)):
        cases = load(name)
        assert (
            len({(case["source"], case["predicted"], case["gold"]) for case in cases}) == len(cases) >= least
        )
        assert min(Counter(case["category"] for case in cases).values()) >= 5
