import json
import pickle
import time

import pytest

from metamath_ray.bootstrap._contamination import TEMPLATE_SENTENCES, ContaminationIndex

DUCKS = (
    "Rosa keeps 14 ducks and 9 geese on a pond behind her house. Every duck lays three eggs a week and every "
    "goose lays two. How many eggs does she gather in a week?"
)
MATHS = "Let $f(x) = 3x^2 - 7x + 2$. What is the remainder when $f(x)$ is divided by $x - 4$?"
SHORT = "How many positive divisors does 360 have?"
TERSE = "Compute $\\binom{8}{6}$."
BACKWARD = "\nIf we know the answer to the above question is 60, what is the value of unknown variable x?"


@pytest.fixture(scope="module")
def index():
    return ContaminationIndex.from_questions({"ducks": [DUCKS], "maths": [MATHS, SHORT, TERSE]})


def rows(folder, name, field="question"):
    return [json.loads(line)[field] for line in (folder / name).read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("question", "where", "form"),
    [
        (DUCKS, ("ducks", 0), "exact"),
        (DUCKS.upper().replace(" ", "\n "), ("ducks", 0), "exact"),
        ("Once more. " + DUCKS[:80], ("ducks", 0), "exact"),
        (
            DUCKS.replace("14", "25").replace("9", "1,200").replace("three", "4").replace("two", "6"),
            ("ducks", 0),
            "masked",
        ),
        (DUCKS.replace("14", "twenty-five").replace("9", "x"), ("ducks", 0), "exact"),
        (DUCKS + BACKWARD, ("ducks", 0), "exact"),
        (SHORT.replace(" 360 ", " $360$ "), ("maths", 1), "exact"),
        (TERSE, ("maths", 2), "exact"),
        (MATHS, ("maths", 0), "exact"),
    ],
    ids=["itself", "case and space", "a part", "numbers", "words", "fobar", "short", "formula", "math"],
)
def test_a_shared_run_of_words_is_a_hit(index, question, where, form):
    hit = index.hit(question)
    assert hit is not None
    assert (hit.benchmark, hit.row) == where
    assert hit.form == form


@pytest.mark.parametrize(
    "question",
    [
        "",
        "Rosa keeps ducks. How many eggs does she gather in a week?",
        "x" + BACKWARD,
        TERSE.replace("8", "9"),
        "How many positive divisors does 360 have that are even, and which of them is the largest of all?",
        "Let $g(x) = 5x^2 - 9x + 1$. Where does $g(x)$ have its least value over the whole real line?",
    ],
    ids=["empty", "short part", "template", "terse", "short in long", "formula"],
)
def test_less_is_no_hit(index, question):
    assert index.hit(question) is None


def test_the_hit_shows_the_thirteen_shared_words(index):
    hit = index.hit("Yesterday Rosa keeps 14 ducks and 9 geese on a pond behind her house.")
    assert hit is not None
    assert hit.gram == "rosa keeps 14 ducks and 9 geese on a pond behind her house"


@pytest.mark.parametrize("sentence", TEMPLATE_SENTENCES)
def test_template_sentences_are_no_evidence_on_either_side(sentence):
    asked = sentence.format(answer="$1,234.50")
    held = ContaminationIndex.from_questions({"b": ["Ann has x pens.\n" + asked, asked]})
    assert held.hit("Bo owns x cars.\n" + sentence.replace("x?", "X?").format(answer="\\frac{3}{4}")) is None
    assert held.hit(asked) is None
    assert held.hit("Ann has x pens. " + asked) is not None


def test_drawings_are_no_evidence():
    drawing = "[asy]" + "draw((0,0)--(1,0)--(1,1)--(0,1)--cycle);" * 4 + "[/asy]"
    index = ContaminationIndex.from_questions({"b": ["What is the shaded area? " + drawing]})
    assert index.hit("Find the angle. " + drawing) is None


def test_an_empty_index_hits_nothing():
    assert ContaminationIndex.from_questions({}).hit(DUCKS) is None
    assert ContaminationIndex.from_questions({"empty": []}).hit(DUCKS) is None


def test_a_pickled_index_finds_the_same(index):
    assert pickle.loads(pickle.dumps(index)).hit(DUCKS) == index.hit(DUCKS)


@pytest.fixture(scope="module")
def gsm8k(published):
    return ContaminationIndex.from_questions({"gsm8k_test": rows(published, "gsm8k_test.jsonl")})


@pytest.mark.published
def test_every_backward_original_is_a_gsm8k_test_question(published, gsm8k):
    originals = rows(published, "gsm8k_backward.jsonl", "original_question")
    assert sum(gsm8k.hit(question) is not None for question in originals) == len(originals) == 1270


@pytest.mark.published
def test_most_backward_questions_are_hit_by_gsm8k_test_alone(published, gsm8k):
    questions = rows(published, "gsm8k_backward.jsonl")
    assert sum(gsm8k.hit(question) is not None for question in questions) >= 1230


@pytest.mark.published
def test_few_gsm8k_train_seeds_are_hit(published, gsm8k):
    hits = [hit for question in rows(published, "gsm8k_train.jsonl") if (hit := gsm8k.hit(question))]
    assert (len(hits), sum(hit.form == "exact" for hit in hits)) == (8, 4)


@pytest.mark.published
def test_an_eighth_of_math_train_is_hit_by_math_test(published):
    index = ContaminationIndex.from_questions({"m": rows(published, "math_test.jsonl", "problem")})
    hits = [hit for text in rows(published, "math_train.jsonl", "problem") if (hit := index.hit(text))]
    assert 900 <= len(hits) <= 1100
    assert 600 <= sum(hit.form == "exact" for hit in hits) <= 700


@pytest.mark.published
def test_all_benchmarks_are_indexed_within_seconds_and_megabytes(published):
    start = time.process_time()
    index = ContaminationIndex.from_questions(
        {
            "gsm8k": rows(published, "gsm8k_test.jsonl"),
            "math": rows(published, "math_test.jsonl", "problem"),
            "backward": rows(published, "gsm8k_backward.jsonl"),
        }
    )
    assert time.process_time() - start < 10
    assert len(pickle.dumps(index)) < 10_000_000
