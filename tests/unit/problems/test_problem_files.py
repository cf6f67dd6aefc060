import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from metamath_ray.problems import Problem, SeedSpec, load_problems

GSM8K = {
    "question": "Ana has 1,000 pens and gives 2 away. How many are left?",
    "answer": "<<1000-2=998>>\n#### 998",
}
MATH = {
    "problem": "What is $x$ if $2x=6$?",
    "solution": r"Halve it: $\boxed{3}$.",
    "level": "Level 1",
    "type": "Algebra",
    "id": "train/algebra/7",
}
BACKWARD = {
    "question": "Ana has x pens. She gives 2 away. How many are left?\nIf the answer is 3, what is x?",
    "answer": "5",
    "original_question": "Ana has 5 pens. She gives 2 away. How many are left?",
    "original_answer": "3",
}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_rows(*rows: object) -> Path:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        return path

    return write_rows


def load_one(path: Path, name: str = "own") -> Problem:
    (problem,) = load_problems(SeedSpec(name, path)).problems
    return problem


def test_a_gsm8k_row_gives_its_gold_and_keeps_its_solution(write: Write) -> None:
    assert load_one(write(GSM8K), "gsm8k") == Problem(
        id="gsm8k-train-0",
        source="gsm8k",
        style="gsm",
        question=GSM8K["question"],
        answer="998",
        solution=GSM8K["answer"],
    )


def test_a_math_row_gives_its_gold_level_and_subject(write: Write) -> None:
    assert load_one(write(MATH), "math") == Problem(
        id="train/algebra/7",
        source="math",
        style="math",
        question=MATH["problem"],
        answer="3",
        solution=MATH["solution"],
        level="Level 1",
        subject="Algebra",
    )


def test_a_backward_row_keeps_its_question_as_it_is(write: Write) -> None:
    problem = load_one(write(BACKWARD), "gsm8k_backward")
    assert problem == Problem("gsm8k_backward-train-0", "gsm8k_backward", "gsm", BACKWARD["question"], "5")


def test_a_generic_row_keeps_its_answer_and_solution(write: Write) -> None:
    row = {"id": "a 1", "question": "2+2?", "answer": " four ", "solution": "2+2=4"}
    assert load_one(write(row)) == Problem("a-1", "own", "gsm", "2+2?", "four", "2+2=4")


def test_the_format_is_read_off_the_fields_not_off_the_name(write: Write) -> None:
    assert load_one(write(MATH), "gsm8k").style == "math"
    assert load_one(write(GSM8K), "math").answer == "998"


@pytest.mark.parametrize(
    ("answer", "text"),
    [(72, "72"), (-0.1, "-0.1"), (1e21, "1000000000000000000000"), ("7", "7")],
    ids=["integer", "decimal", "large", "string"],
)
def test_a_number_is_an_answer(write: Write, answer: object, text: str) -> None:
    assert load_one(write({"question": "How many?", "answer": answer})).answer == text


@pytest.mark.parametrize(
    ("text", "style"),
    [
        pytest.param("It costs $5.", "gsm", id="price"),
        pytest.param("It costs $5 and that $6.", "gsm", id="two-prices"),
        pytest.param("With $5 and y=3 he pays $7.", "gsm", id="equation-between-prices"),
        pytest.param("It costs $20-$30.", "gsm", id="price-range"),
        pytest.param("It costs $x and sells for $9.", "gsm", id="masked-price"),
        pytest.param("It costs $x. He has 3_000 and $ left.", "gsm", id="lone-dollars"),
        pytest.param("What is $x$?", "math", id="variable"),
        pytest.param("What is $ABC$?", "math", id="letters"),
        pytest.param("What is $x^2$?", "math", id="power"),
        pytest.param("What is $x + 3$?", "math", id="sum"),
        pytest.param("From $(1, 2)$ to there?", "math", id="point"),
        pytest.param("Find the $13$th term.", "math", id="number-in-dollars"),
        pytest.param(r"What is \frac{1}{2}?", "math", id="command"),
        pytest.param(r"It costs \$5.", "math", id="escaped-dollar"),
        pytest.param("What is $$10(0.5)?$$", "math", id="display"),
    ],
)
def test_latex_makes_a_generic_problem_math_and_prices_do_not(write: Write, text: str, style: str) -> None:
    assert load_one(write({"question": text, "answer": "1"})).style == style


def test_latex_in_the_answer_alone_makes_a_generic_problem_math(write: Write) -> None:
    assert load_one(write({"question": "What is half?", "answer": r"\frac12"})).style == "math"


def test_rows_without_id_are_numbered_by_row_and_named_by_split(write: Write) -> None:
    path = write(GSM8K, GSM8K)
    path.write_text(path.read_text().replace("\n", "\n\n"))
    ids = [problem.id for problem in load_problems(f"own:{path}", split="test").problems]
    assert ids == ["own-test-0", "own-test-1"]


@pytest.mark.parametrize(
    ("own", "safe"),
    [
        pytest.param("a b:c", "a-b-c", id="unsafe-characters"),
        pytest.param("../../etc/x", "etc/x", id="upwards"),
        pytest.param("/abs//x/", "abs/x", id="absolute"),
        pytest.param(17, "17", id="integer"),
        pytest.param("é_1", "-_1", id="not-ascii"),
    ],
)
def test_ids_are_made_safe_for_file_names(write: Write, own: object, safe: str) -> None:
    assert load_one(write({**GSM8K, "id": own})).id == safe


@pytest.mark.parametrize("encode", [lambda b: b"\xef\xbb\xbf" + b, gzip.compress], ids=["bom", "gzip"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_bom_gzip_and_crlf_change_nothing(
    tmp_path: Path, encode: Callable[[bytes], bytes], newline: bytes
) -> None:
    text = json.dumps({"question": "Añb\u2028c?", "answer": "1"}, ensure_ascii=False).encode()
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(encode(newline.join([text, text, b""])))
    assert [problem.question for problem in load_problems(f"own:{path}").problems] == ["Añb\u2028c?"] * 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"\n \n", "is empty", id="blank"),
        pytest.param(gzip.compress(b"{}")[:-6], "is damaged gzip", id="cut-gzip"),
        pytest.param(b"\x1f\x8bnonsense", "is damaged gzip", id="no-gzip"),
    ],
)
def test_an_unusable_file_is_named_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        load_problems(f"own:{path}", skip_bad_rows=True)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"problem file '.*none.jsonl' does not exist"):
        load_problems(f"own:{tmp_path / 'none.jsonl'}")


def test_a_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a directory; give one JSONL file"):
        load_problems(f"own:{tmp_path}")
