import json
import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metamath_ray.bootstrap._mask import Mask, apply_mask, undo_mask
from metamath_ray.bootstrap._masking import find_masks
from metamath_ray.bootstrap._masking_math import clean_latex_number
from metamath_ray.problems import Style

pytestmark = pytest.mark.slow


@pytest.mark.published
def test_paper_masks_hold_every_published_fobar_row(published):
    rows = [json.loads(line) for line in (published / "gsm8k_backward.jsonl").open(encoding="utf-8")]
    fobar = [row for row in rows if "\nIf we know the answer" in row["question"]]
    for row in fobar:
        wanted = (row["question"].split("\nIf we know")[0], row["answer"])
        original = row["original_question"]
        masks = find_masks(original, style="gsm", compat="paper")
        assert wanted in {(apply_mask(original, mask), mask.value) for mask in masks}
    assert len(fobar) == 867


def iter_seeds(published: Path, style: Style) -> Iterator[str]:
    name, key = ("gsm8k_train", "question") if style == "gsm" else ("math_train", "problem")
    for line in (published / f"{name}.jsonl").open(encoding="utf-8"):
        yield json.loads(line)[key]


def braces_balance(span: str) -> bool:
    return "$" not in span and span.count("{") == span.count("}")


FLOORS: dict[Style, str] = {
    "gsm": "integer 15500 currency 4350 word 2450 percent 1200 fraction 600 decimal 230 "
    "thousands 98 mixed 10",
    "math": "integer 18000 word 1800 fraction 660 power 480 angle 330 decimal 185 "
    "currency 175 percent 118 mixed 14",
}


@pytest.mark.published
@pytest.mark.parametrize("style", ["gsm", "math"])
def test_every_published_seed_is_masked_without_damage(published, style):
    kinds: Counter[str] = Counter()
    seeds = with_masks = 0
    for question in iter_seeds(published, style):
        masks = find_masks(question, style=style)
        seeds, with_masks = seeds + 1, with_masks + bool(masks)
        kinds.update(mask.kind for mask in masks)
        assert all(a.end <= b.start for a, b in pairwise(masks))
        for mask in masks:
            check_mask(question, mask, style)
    print(f"\n{style}: {seeds} seeds, {with_masks} with a mask, {kinds.total()} masks: {dict(kinds)}")
    for kind, floor in re.findall(r"(\w+) (\d+)", FLOORS[style]):
        assert kinds[kind] >= int(floor), kind
    assert with_masks >= (0.99 if style == "gsm" else 0.9) * seeds


def check_mask(question: str, mask: Mask, style: Style) -> None:
    span = question[mask.start : mask.end]
    text = apply_mask(question, mask)
    assert undo_mask(text, mask, span) == question
    assert braces_balance(span)
    assert text.count("$") == question.count("$")
    if style == "gsm" or not span[:1].isdigit() or " " in span:
        assert mask.value == clean_latex_number(span) or Fraction(mask.value) > 0
    else:
        assert mask.value == clean_latex_number(span)


PLAIN = [
    "3",
    "12",
    "$4.50",
    "1,200",
    "20%",
    "three",
    "twenty-five",
    "3/4",
    "2 1/2",
    "x",
    "half",
    "one",
    "1999",
]
SIGNS = [".", ",", "?", "$", "$$", "{", "}", "^", "_", "-7", "5th", "7:30", "\n", "cost", "and", "the", "in"]
LATEX = ["\\$", "\\frac{3}{4}", "$2^{10}$", "$a_1=5$", "[asy]", "(1,2)", "[/asy]", "\\[", "\\]", "\\frac"]
BLOCKS = ["\\begin{cases}", "\\end{cases}", "\\text{", "10,\\!000", "$\\$$", "\\left(", "2^", "\\sqrt"]
PIECES = st.sampled_from([*PLAIN, *SIGNS, *LATEX, *BLOCKS])
STYLES = st.sampled_from(["gsm", "math"])


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.lists(PIECES, max_size=12),
    glue=st.sampled_from(["", " "]),
    style=STYLES,
)
def test_masks_of_any_text_undo_and_keep_order_and_delimiters(pieces, glue, style):
    question = glue.join(pieces)
    masks = find_masks(question, style=style)
    assert masks == sorted(masks, key=lambda mask: mask.start)
    for mask in masks:
        check_mask(question, mask, style)


@settings(max_examples=200, deadline=None)
@given(question=st.text(), style=STYLES, compat=st.sampled_from(["fixed", "paper"]))
def test_no_text_breaks_masking(question, style, compat):
    for mask in find_masks(question, style=style, compat=compat):
        span = question[mask.start : mask.end]
        assert undo_mask(apply_mask(question, mask), mask, span) == question
