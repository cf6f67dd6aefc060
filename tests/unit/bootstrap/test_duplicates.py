import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metamath_ray.bootstrap._duplicates import (
    DEFAULT_NEAR_DUPLICATE_THRESHOLD,
    digest_texts,
    find_near_duplicates,
    jaccard,
    make_shingles,
    normalise_path,
    normalise_text,
    split_words,
)

QUESTION = (
    "A bakery sells muffins for $3 each and cookies for $1.50 each. On Monday, Tom bought 4 muffins and "
    "6 cookies for the office party. How much money did he spend in total?"
)
EDITED = {
    "a word dropped": QUESTION.replace("much money did", "much did"),
    "punctuation and an article": QUESTION.replace("Monday,", "Monday").replace("the office", "an office"),
    "two prepositions": QUESTION.replace("muffins for $3", "muffins at $3").replace("for $1.50", "at $1.50"),
    "the ending": QUESTION.replace("did he spend in total?", "did Tom spend altogether?"),
    "a phrase moved": QUESTION.replace("On Monday, Tom", "Tom").replace("party.", "party on Monday."),
    "numbers in words": QUESTION.replace("4 muffins", "four muffins"),
}
REWORDED = {
    "question first": "What is the total amount of money Tom spent on Monday if he purchased 4 muffins at "
    "$3 each and 6 cookies at $1.50 each from a bakery for the office party?",
    "one conditional": "If a bakery charges $3 for a muffin and $1.50 for a cookie, and Tom buys 4 muffins "
    "and 6 cookies for his office party on Monday, how much money does he spend altogether?",
    "clauses swapped": "For the office party on Monday, Tom bought 4 muffins and 6 cookies from a bakery "
    "where muffins are sold for $3 each and cookies for $1.50 each. How much did he spend?",
    "close to the words": "On Monday, Tom went to a bakery that sells muffins for $3 each and cookies for "
    "$1.50 each. He bought 4 muffins and 6 cookies for the office party. What is the total cost?",
}
PATH = "The muffins cost 4 * $3 = $12.\nThe cookies cost 6 * $1.50 = $9.\nIn total, Tom spent $12 + $9 = $21."
TAIL = "\n#### 21\nThe answer is: 21"
WORDS = [
    "apple",
    "basket",
    "carry",
    "dozen",
    "each",
    "four",
    "give",
    "half",
    "into",
    "just",
    "3",
    "5",
    "7",
    "8",
]


def repeats(texts, **options):
    options = {"threshold": DEFAULT_NEAR_DUPLICATE_THRESHOLD} | options
    return sorted(find_near_duplicates(texts, **options))


@pytest.mark.parametrize("text", EDITED.values(), ids=EDITED)
def test_an_edit_of_a_word_or_two_is_a_near_duplicate(text):
    assert repeats([QUESTION, text]) == [1]


@pytest.mark.parametrize("text", REWORDED.values(), ids=REWORDED)
def test_a_real_rewording_is_no_near_duplicate(text):
    assert repeats([QUESTION, text]) == []
    assert jaccard(make_shingles(split_words(QUESTION)), make_shingles(split_words(text))) < 0.4


@pytest.mark.parametrize(
    ("old", "new"), [("= $12", "= $13"), ("6 * $1.50", "6 * $1.05"), ("$9 = $21", "$9 = 21 = $21")]
)
def test_a_path_with_other_numbers_is_another_path(old, new):
    assert repeats([PATH, PATH.replace(old, new, 1)]) == []


def test_line_breaks_and_tail_make_no_other_path():
    assert normalise_path(PATH.replace("\n", " ") + "\nThe answer is: 21") == normalise_path(PATH + TAIL)


@pytest.mark.parametrize(
    ("response", "path"),
    [
        ("So 2.\n#### 2\nThe answer is: 2", "So 2."),
        ("So 2.\n#### 2", "So 2."),
        ("So 2.\nThe answer is: \\sqrt{5}", "So 2."),
        ("So 2. The answer is: 2\n", "So 2."),
        ("The answer is clear: 2.\nDone.", "The answer is clear: 2. Done."),
        ("So.\nThe answer is: \\begin{pmatrix}\n1\n\\end{pmatrix}", "So."),
        ("#### 2\nThe answer is: 2", "#### 2 The answer is: 2"),
        ("", ""),
    ],
    ids=["gsm", "only hashes", "math", "same line", "no tail", "lines", "all tail", "empty"],
)
def test_only_the_answer_tail_is_ignored(response, path):
    assert normalise_path(response) == path


def test_case_stays_and_compatibility_characters_do_not():
    assert normalise_text(" X\u00a0and  x\n½ ") == "X and x 1⁄2"


def test_the_first_text_stays_and_a_dropped_text_drops_no_other():
    one = "a b c d e f g h i j"
    two = "a b c d e f g h i k"
    three = "a b c d e f g h i k l m"
    assert find_near_duplicates([one, two, three], threshold=0.7) == {1: one}
    assert find_near_duplicates([two, one, three], threshold=0.7) == {1: two, 2: two}


def test_kept_texts_drop_others_and_are_never_dropped_themselves():
    assert find_near_duplicates([QUESTION], threshold=0.6, kept=[QUESTION, QUESTION]) == {0: QUESTION}


def test_digests_tell_where_one_text_ends():
    assert digest_texts("ab", "c") != digest_texts("a", "bc")


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), max_size=25))
@settings(max_examples=60, deadline=None)
def test_what_stays_is_pairwise_below_the_threshold(texts):
    dropped = find_near_duplicates(texts, threshold=0.6)
    kept = [text for index, text in enumerate(texts) if index not in dropped]
    assert find_near_duplicates(kept, threshold=0.6) == {}


@pytest.mark.parametrize("threshold", [0.4, 0.6, 0.9])
def test_minhash_finds_what_comparing_all_finds(threshold):
    rng = random.Random(1)
    texts = []
    for _ in range(40):
        words = rng.choices([word for word in WORDS if word.isalpha()], k=40)
        for edits in (0, 1, 2, 4):
            edited = list(words)
            for place in rng.sample(range(40), edits):
                edited[place] = "other"
            texts.append(" ".join(edited))
    rng.shuffle(texts)
    exact = find_near_duplicates(texts, threshold=threshold)
    assert exact
    assert find_near_duplicates(texts, threshold=threshold, minhash_from=2) == exact
