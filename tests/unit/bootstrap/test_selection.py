import hashlib
import random
from collections import Counter
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metamath_ray.bootstrap._contamination import ContaminationIndex
from metamath_ray.bootstrap._selection import find_survivors, sample_rows, select_rows
from metamath_ray.bootstrap._selection_records import (
    NUM_EXAMPLES,
    SelectionCandidate,
    SelectionRules,
    dataset_sha256,
    row_id,
)

pytestmark = pytest.mark.slow

SEED = "Mia picks 12 plums on each of 5 days and gives a third of them to a friend. How many does she keep?"
REWORDED = "Over 5 days Mia gathers 12 plums daily; a friend gets a third. What number of plums has she left?"
LEAKED = "A gardener fills 6 trays with 18 seedlings each, and 11 of them die in a frost. How many live on?"
NAMES = ["Ada", "Ben", "Cleo", "Dan"]
VERBS = ["sells", "buys", "finds", "paints"]
STEPS = [
    f"{n} {verb} {k} kites on {d}." for n in NAMES for verb in VERBS for k in (2, 3) for d in ("May", "June")
]
CELLS = [("gsm8k", "answer_augmentation"), ("gsm8k", "rephrasing"), ("math", "rephrasing"), ("math", "fobar")]


def candidate(question=SEED, response="It is 40.\nThe answer is: 40", **fields):
    given = {
        "question_id": "q",
        "seed_id": "s",
        "source": "gsm8k",
        "augmentation": "answer_augmentation",
        "type": "GSM_AnsAug",
        "sample_index": 0,
        "request_key": f"key of {question} {response}",
        "expected": "40",
        "teacher": "tiny",
        "original_question": SEED,
    }
    return SelectionCandidate(question=question, response=response, **given | fields)


def rephrased(question=REWORDED, **fields):
    return candidate(question, **{"augmentation": "rephrasing", "type": "GSM_Rephrased"} | fields)


def reasons(selection):
    return {reason: sum(counts.values()) for reason, counts in selection.dropped.items() if counts}


@st.composite
def pools(draw):
    """Candidates of a few seeds and cells with many repeated texts, ids unique as in a run."""
    made = []
    for number in range(draw(st.integers(0, 30))):
        source, augmentation = draw(st.sampled_from(CELLS))
        seed = draw(st.sampled_from(STEPS[:3]))
        question = " ".join(draw(st.lists(st.sampled_from(STEPS[:5]), min_size=1, max_size=4)))
        response = " ".join(draw(st.lists(st.sampled_from(STEPS[:6]), min_size=1, max_size=5)))
        made.append(
            candidate(
                question if augmentation != "answer_augmentation" else seed,
                response,
                source=source,
                augmentation=augmentation,
                type=f"{source}_{augmentation}",
                seed_id=seed[:9],
                original_question=seed,
                request_key=f"key{number}",
            )
        )
    return made


@st.composite
def rule_sets(draw):
    targets = {cell: draw(st.integers(0, 6)) for cell in CELLS if draw(st.booleans())}
    index = ContaminationIndex.from_questions({"b": [STEPS[0] + " " + STEPS[1]]})
    return SelectionRules(
        seed=draw(st.integers(0, 3)),
        targets=targets,
        near_duplicate_threshold=draw(st.sampled_from([None, 0.5, 0.8])),
        contamination=draw(st.sampled_from([None, index])),
    )


@given(pools(), rule_sets(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_the_order_of_the_candidates_changes_nothing(pool, rules, rng):
    shuffled = rng.sample(pool, len(pool))
    assert select_rows(shuffled, rules) == select_rows(pool, rules)


@given(pools(), rule_sets())
@settings(max_examples=150, deadline=None)
def test_selecting_from_the_selection_changes_nothing(pool, rules):
    rows = select_rows(pool, rules).rows
    again = select_rows(rows, rules)
    assert again.rows == rows
    assert reasons(again) == {}


@given(pools(), rule_sets())
@settings(max_examples=100, deadline=None)
def test_targets_hold_and_every_candidate_is_a_row_or_has_one_reason(pool, rules):
    selection = select_rows(iter(pool), rules)
    chosen = Counter((row.source, row.augmentation) for row in selection.rows)
    assert all(chosen[cell] <= target for cell, target in rules.targets.items())
    assert len(selection.rows) + sum(reasons(selection).values()) == len(pool)
    assert set(selection.rows) <= set(pool)


@given(pools(), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_target_takes_nothing_from_another_cell(pool, target):
    full = select_rows(pool, SelectionRules())
    limited = select_rows(pool, SelectionRules(targets={CELLS[0]: target}))
    others = [row for row in full.rows if (row.source, row.augmentation) != CELLS[0]]
    assert [row for row in limited.rows if (row.source, row.augmentation) != CELLS[0]] == others


@given(pool=pools(), rules=rule_sets())
@settings(max_examples=30, deadline=None)
def test_one_selection_serves_the_count_and_the_draw_to_targets(pool, rules):
    survivors = find_survivors(pool, rules)
    uncapped = select_rows(pool, replace(rules, targets={})).rows
    assert survivors.count() == Counter((row.source, row.augmentation) for row in uncapped)
    assert sample_rows(survivors, rules) == select_rows(pool, rules)


def test_rows_that_differ_in_space_and_tail_are_one():
    one = candidate(response="Take 60.\nKeep 40.\n#### 40\nThe answer is: 40")
    two = candidate(response="Take 60. Keep 40.\nThe answer is: 40")
    other = candidate(response="take 60. Keep 40.\nThe answer is: 40")
    selection = select_rows([one, two, other], SelectionRules())
    assert len(selection.rows) == 2
    assert reasons(selection) == {"exact_duplicate": 1}


@pytest.mark.parametrize("threshold", [0.6, None], ids=["fixed", "paper"])
def test_near_duplicates_stay_in_paper_mode_only(threshold):
    near = [rephrased(SEED.replace("each of 5", "every one of 5").replace("every one", "each")), rephrased()]
    near += [rephrased(REWORDED.replace("daily", "a day")), rephrased(SEED.replace("gives", "hands"))]
    selection = select_rows(near, SelectionRules(near_duplicate_threshold=threshold))
    assert len(selection.rows) == (1 if threshold else 4)
    assert reasons(selection) == ({"near_duplicate_question": 3} if threshold else {})


def test_all_paths_of_a_kept_rephrasing_stay_and_all_of_a_dropped_one_go():
    paths = ["Multiply 12 by 5, then take two thirds.", "She has sixty plums; twenty go away; forty remain."]
    pool = [rephrased(question, response=path) for question in (REWORDED, SEED) for path in paths]
    selection = select_rows(pool, SelectionRules(near_duplicate_threshold=0.6))
    assert {row.question for row in selection.rows} == {REWORDED}
    assert len(selection.rows) == 2
    assert selection.dropped["near_duplicate_question"] == {"GSM_Rephrased": 2}


def test_masked_questions_of_one_seed_are_no_duplicates():
    masked = [SEED.replace("12", "x"), SEED.replace("5", "x")]
    pool = [candidate(q, augmentation="fobar", type="GSM_FOBAR") for q in masked]
    assert len(select_rows(pool, SelectionRules(near_duplicate_threshold=0.6)).rows) == 2


def test_near_duplicate_paths_are_compared_within_a_question_only():
    path = "Mia picks 12 * 5 = 60 plums in all. She gives away 60 / 3 = 20 plums. So she keeps 60 - 20 = 40."
    pool = [
        candidate(response=path),
        candidate(response=path.replace("So she", "She")),
        rephrased(response=path),
    ]
    pool.append(candidate(response=path.replace("60 - 20", "20 + 20")))
    selection = select_rows(pool, SelectionRules(near_duplicate_threshold=0.6))
    assert len(selection.rows) == 3
    assert selection.dropped["near_duplicate_path"] == {"GSM_AnsAug": 1}


def test_a_contaminated_seed_loses_all_its_rows():
    index = ContaminationIndex.from_questions({"test": ["Nothing.", LEAKED]})
    pool = [
        candidate(),
        candidate("What is 2 + 2?", original_question=LEAKED.replace("18", "24"), type="GSM_SV"),
        rephrased("So: " + LEAKED),
    ]
    selection = select_rows(pool, SelectionRules(contamination=index))
    assert selection.rows == pool[:1]
    assert selection.dropped["contaminated"] == {"GSM_Rephrased": 1, "GSM_SV": 1}
    assert all(ex.against.startswith("test[1]: ") for ex in selection.examples["contaminated"])


def test_sampling_takes_every_question_once_before_any_twice():
    pool = [
        rephrased(f"{REWORDED} {q}", response=f"path {p}") for q in NAMES for p in range(q.count("a") * 5 + 1)
    ]
    for target in (2, 4):
        rows = select_rows(pool, SelectionRules(targets={("gsm8k", "rephrasing"): target})).rows
        assert len({row.question for row in rows}) == len(rows) == target
    rows = select_rows(pool, SelectionRules(targets={("gsm8k", "rephrasing"): 6})).rows
    assert Counter(Counter(row.question for row in rows).values()) == {1: 2, 2: 2}


def test_another_seed_gives_another_sample():
    pool = [candidate(response=f"path {n}") for n in range(40)]
    targets = {("gsm8k", "answer_augmentation"): 10}
    chosen = {frozenset(select_rows(pool, SelectionRules(seed=s, targets=targets)).rows) for s in range(5)}
    assert len(chosen) == 5


def test_a_larger_target_keeps_the_smaller_sample():
    pool = [candidate(response=f"path {n}") for n in range(40)]
    samples = [
        set(select_rows(pool, SelectionRules(targets={("gsm8k", "answer_augmentation"): n})).rows)
        for n in (5, 20)
    ]
    assert samples[0] < samples[1]


def test_examples_are_few():
    selection = select_rows([candidate(request_key=str(n)) for n in range(50)], SelectionRules())
    assert selection.dropped["exact_duplicate"] == {"GSM_AnsAug": 49}
    assert len(selection.examples["exact_duplicate"]) == NUM_EXAMPLES


@pytest.mark.parametrize("threshold", [0, -0.1, 1.5])
def test_a_threshold_out_of_range_is_named(threshold):
    with pytest.raises(ValueError, match=f"near_duplicate_threshold must be .* got {threshold}"):
        SelectionRules(near_duplicate_threshold=threshold)


def test_a_negative_target_is_named():
    with pytest.raises(ValueError, match=r"targets\.gsm8k\.fobar must be at least 0, got -1"):
        SelectionRules(targets={("gsm8k", "fobar"): -1})


def test_row_ids_depend_on_question_and_request_only():
    row = candidate(request_key="abc")
    assert row_id(row) == hashlib.sha256(b"q\nabc").hexdigest()[:16] == row_id(replace(row, response="other"))
    assert (
        len({row_id(row), row_id(replace(row, question_id="p")), row_id(replace(row, request_key="d"))}) == 3
    )


def test_the_dataset_hash_sees_order_and_content_but_not_key_order():
    rows = [asdict(candidate(response=text)) for text in ("naïve ½", "other")]
    whole = dataset_sha256(rows)
    assert dataset_sha256(dict(reversed(row.items())) for row in rows) == whole
    assert dataset_sha256(reversed(rows)) != whole
    assert dataset_sha256([]) == hashlib.sha256().hexdigest()
    assert dataset_sha256([{"b": "ü", "a": 1}]) == hashlib.sha256('{"a":1,"b":"ü"}\n'.encode()).hexdigest()


def test_shuffling_a_thousand_candidates_gives_the_same_bytes():
    rng = random.Random(4)
    pool = [
        candidate(" ".join(rng.choices(STEPS, k=2)), " ".join(rng.choices(STEPS, k=3)), request_key=str(n))
        for n in range(1000)
    ]
    rules = SelectionRules(
        seed=1, near_duplicate_threshold=0.6, targets={("gsm8k", "answer_augmentation"): 300}
    )
    hashes = set()
    for _ in range(3):
        rng.shuffle(pool)
        hashes.add(dataset_sha256(map(asdict, select_rows(pool, rules).rows)))
    assert len(hashes) == 1
