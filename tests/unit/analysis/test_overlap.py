import itertools
import json
import random

import pyarrow.parquet as pq
import pytest

from metamath_ray.analysis import AnalysisOptions, plan_analysis, run_analyses
from metamath_ray.analysis._overlap import band_shape, find_candidates
from metamath_ray.analysis._sketches import jaccard, sketch_texts, split_words, trigrams_of

WORDS = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "l")]


def sentence(draw: random.Random, num_words: int = 40) -> list[str]:
    return draw.choices(WORDS, k=num_words)


def run(tmp_path, new, base, **overlap):
    for name, texts in (("new", new), ("base", base)):
        rows = [
            {"query": text, "response": "r", "type": "T", "row_id": f"{name}-{i}"}
            for i, text in enumerate(texts)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = AnalysisOptions(
        analyses=("overlap",), data=str(tmp_path / "new.jsonl"), base=str(tmp_path / "base.jsonl"),
        overlap=overlap, output=tmp_path / "out",
    )  # fmt: skip
    summary = run_analyses(plan_analysis(options))
    tables = [
        pq.read_table(summary.parent / f"{name}.parquet").to_pylist() for name in ("overlap", "overlap_pairs")
    ]
    return json.loads(summary.read_text())["overlap"], *tables


def test_case_blanks_and_punctuation_hide_no_equal_text(tmp_path):
    result, rows, _ = run(
        tmp_path, ["Tom has  1,200 apples!", "Ann has 3."], ["tom HAS 1200 apples", "Bob has 4."]
    )
    assert result["total"]["exact"] == 1
    assert [row["exact_row_id"] for row in rows] == ["base-0", ""]


def test_a_shared_run_of_13_words_is_found_and_shown_and_12_are_none(tmp_path):
    draw = random.Random(0)
    base = sentence(draw)
    new = [[*sentence(draw, 20), *base[5 : 5 + size], *sentence(draw, 20)] for size in (13, 12)]
    result, rows, _ = run(tmp_path, [" ".join(words) for words in new], [" ".join(base)])
    assert [row["first_shared_gram"] for row in rows] == [" ".join(base[5:18]), ""]
    assert rows[0]["gram_share"] == pytest.approx(1 / (53 - 12))
    assert (result["total"]["with_gram"], result["total"]["gram_only"]) == (1, 1)


def test_one_changed_number_is_a_near_duplicate_with_other_numbers(tmp_path):
    words = sentence(random.Random(1), 50)
    first, second = " ".join([*words, "has", "12", "left"]), " ".join([*words, "has", "15", "left"])
    result, rows, pairs = run(tmp_path, [first], [second])
    assert (result["total"]["near"], result["total"]["near_same_numbers"]) == (1, 0)
    assert rows[0]["near_row_id"] == "base-0"
    assert (pairs[0]["row_id"], pairs[0]["base_row_id"], pairs[0]["is_exact"]) == ("new-0", "base-0", False)
    assert pairs[0]["jaccard"] == pytest.approx(
        jaccard(trigrams_of(split_words(first)), trigrams_of(split_words(second)))
    )


def test_what_all_backward_questions_end_with_is_no_overlap(tmp_path):
    tail = " If we know the answer to the above question is 7, what is the value of unknown variable x?"
    draw = random.Random(2)
    result, _, _ = run(tmp_path, [" ".join(sentence(draw)) + tail], [" ".join(sentence(draw)) + tail])
    assert result["total"]["with_gram"] == result["total"]["near"] == 0


def test_minhash_misses_no_pair_well_above_the_threshold_and_names_few_others():
    draw = random.Random(3)
    base = [sentence(draw) for _ in range(300)]
    new = [list(words) for words in base]
    for words in new:
        for place in draw.sample(range(len(words)), 2):
            words[place] = draw.choice(WORDS)
    texts = [" ".join(words) for words in (*new, *base)]
    signatures = sketch_texts(texts, gram_words=13).signatures
    bands, rows = band_shape(0.6)
    found = set(
        map(tuple, find_candidates(signatures[:300], signatures[300:], bands=bands, rows=rows).tolist())
    )
    shingles = [trigrams_of(split_words(text)) for text in texts]
    alike = {
        (one, other)
        for one, other in itertools.product(range(300), repeat=2)
        if jaccard(shingles[one], shingles[300 + other]) >= 0.6
    }
    assert len(alike) > 250
    assert len(alike - found) <= 1
    assert len(found - alike) < 1000, "of 90,000 pairs"


def test_equal_texts_of_many_rows_are_one_pair(tmp_path):
    text = " ".join(sentence(random.Random(4)))
    result, rows, pairs = run(tmp_path, [text] * 5, [text + " indeed"] * 4)
    assert len(pairs) == 1
    assert pairs[0]["rows_with_text"] == 5
    assert result["total"]["near"] == len(rows) == 5
