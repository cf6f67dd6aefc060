import json
import pickle
from pathlib import Path

import pytest

from metamath_ray.problems import BadRowsError, load_problems

GOOD = '{"question": "2+2?", "answer": "It is 4.\\n#### 4"}'


def load_lines(tmp_path: Path, *lines: str | bytes, skip_bad_rows: bool = True) -> tuple[str, ...]:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    loaded = load_problems(f"own:{path}", skip_bad_rows=skip_bad_rows)
    assert loaded.num_skipped == len(loaded.errors)
    return tuple(error.removeprefix(f"{tmp_path}/") for error in loaded.errors)


BAD_ROWS = [
    pytest.param(
        '{"question": ',
        "not JSON (Expecting value, column 14); each line must hold one JSON object",
        id="bad-json",
    ),
    pytest.param("[1]", "not an object but an array; each line must hold one JSON object", id="array"),
    pytest.param("null", "not an object but null; each line must hold one JSON object", id="null"),
    pytest.param(
        b'{"question": "\xff"}',
        "not UTF-8 (byte 14 of the line); each line must hold one JSON object",
        id="not-utf8",
    ),
    pytest.param(
        "[" * 200_000,
        "not readable JSON (nested too deep); each line must hold one JSON object",
        id="nested-too-deep",
    ),
    pytest.param(
        "{}",
        "field 'question': missing; a row needs question and answer, or problem and solution",
        id="no-fields",
    ),
    pytest.param(
        '{"question": "2+2?"}',
        "field 'answer': missing; it must be a finite number or a non-empty string",
        id="no-answer",
    ),
    pytest.param(
        '{"question": " ", "answer": "4"}',
        "field 'question': must not be blank, got ' '",
        id="blank-question",
    ),
    pytest.param(
        '{"question": 7, "answer": "4"}',
        "field 'question': must be a non-empty string, got 7",
        id="number-as-question",
    ),
    pytest.param(
        '{"question": "2+2?", "answer": null, "solution": ""}',
        "field 'answer': must be a finite number or a non-empty string, got null",
        id="null-answer",
    ),
    pytest.param(
        '{"question": "2+2?", "answer": true, "solution": ""}',
        "field 'answer': must be a finite number or a non-empty string, got true",
        id="boolean-answer",
    ),
    pytest.param(
        '{"question": "2+2?", "answer": "", "solution": ""}',
        "field 'answer': must not be blank, got ''",
        id="empty-answer",
    ),
    pytest.param(
        '{"question": "2+2?", "answer": NaN, "solution": ""}',
        "field 'answer': must be a finite number or a non-empty string, got nan",
        id="nan-answer",
    ),
    pytest.param(
        '{"question": "2+2?", "answer": "4", "solution": 4}',
        "field 'solution': must be a string or absent, got 4",
        id="number-as-solution",
    ),
    pytest.param(
        '{"question": "2+2?", "answer": "It is 4."}',
        "field 'answer': no '#### ' in 'It is 4.'; the other rows are GSM8K's, "
        "whose answer ends in '#### ' and the gold",
        id="no-mark-in-a-gsm8k-file",
    ),
    pytest.param(
        '{"question": "2+2?", "answer": "It is 4.\\n#### "}',
        "field 'answer': nothing after '#### '; the gold must follow it",
        id="empty-gsm8k-gold",
    ),
    pytest.param(
        '{"problem": "2+2?"}', "field 'solution': missing; it must be a non-empty string", id="no-solution"
    ),
    pytest.param(
        '{"problem": "2+2?", "solution": "It is 4."}',
        r"field 'solution': no \boxed{} that closes; the gold must stand in the last \boxed{} or \fbox{}",
        id="no-box",
    ),
    pytest.param(
        r'{"problem": "2+2?", "solution": "\\boxed{4"}',
        r"field 'solution': no \boxed{} that closes; the gold must stand in the last \boxed{} or \fbox{}",
        id="open-box",
    ),
    pytest.param(
        r'{"problem": "2+2?", "solution": "\\boxed{ }"}',
        r"field 'solution': the last \boxed{} is empty; the gold must stand in it",
        id="empty-box",
    ),
    pytest.param(
        r'{"problem": "2+2?", "solution": "\\boxed{4}", "level": 3}',
        "field 'level': must be a string or absent, got 3",
        id="number-as-level",
    ),
    pytest.param(
        r'{"question": "2\ud800?", "answer": "#### 4"}',
        r"field 'question': lone surrogate '\ud800' at character 1; text must be valid Unicode",
        id="lone-surrogate",
    ),
    pytest.param(
        '{"id": [1], "question": "2+2?", "answer": "#### 4"}',
        "field 'id': must be a string or an integer, got an array",
        id="array-as-id",
    ),
    pytest.param(
        '{"id": "..", "question": "2+2?", "answer": "#### 4"}',
        "field 'id': must hold a letter, a digit or '_', got '..'",
        id="id-without-letters",
    ),
]


@pytest.mark.parametrize(("line", "complaint"), BAD_ROWS)
def test_a_bad_row_is_named_with_file_line_and_field(
    tmp_path: Path, line: str | bytes, complaint: str
) -> None:
    assert load_lines(tmp_path, GOOD, line, GOOD) == (f"rows.jsonl:2: {complaint}",)


def test_an_id_used_twice_names_both_lines(tmp_path: Path) -> None:
    row = {"question": "2+2?", "answer": "4"}
    lines = [json.dumps({"id": own, **row}) for own in ("a b", "c", "a-b")]
    assert load_lines(tmp_path, *lines) == (
        "rows.jsonl:3: field 'id': 'a-b' stands on line 1 too; ids must be unique in a file",
    )


def test_a_huge_integer_is_a_bad_row_not_a_crash(tmp_path: Path) -> None:
    (error,) = load_lines(tmp_path, GOOD, '{"question": "2+2?", "answer": ' + "9" * 5000 + "}")
    assert error.startswith("rows.jsonl:2: not readable JSON (Exceeds the limit (4300 digits)")


def test_one_of_two_rows_without_mark_is_a_bad_row(tmp_path: Path) -> None:
    (error,) = load_lines(tmp_path, GOOD, '{"question": "2+2?", "answer": "It is 4."}')
    assert error.startswith("rows.jsonl:2: field 'answer': no '#### ' in 'It is 4.'")


def test_a_row_that_is_generic_by_its_fields_may_stand_in_a_gsm8k_file(tmp_path: Path) -> None:
    generic = '{"question": "2+2?", "answer": "4", "solution": "2+2=4"}'
    assert load_lines(tmp_path, GOOD, generic, GOOD) == ()


def test_a_skipped_row_leaves_the_ids_of_the_others_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{GOOD}\n{{\n{GOOD}\n")
    loaded = load_problems(f"own:{path}", skip_bad_rows=True)
    assert [problem.id for problem in loaded.problems] == ["own-train-0", "own-train-2"]


def test_bad_rows_stop_loading_with_the_first_five_and_the_count(tmp_path: Path) -> None:
    with pytest.raises(BadRowsError) as caught:
        load_lines(tmp_path, GOOD, *["{}"] * 7, skip_bad_rows=False)
    first, *shown, last = str(caught.value).splitlines()
    assert first == "7 of 8 rows are bad:"
    assert [line.split(": ")[0] for line in shown] == [f"  {tmp_path}/rows.jsonl:{n}" for n in range(2, 7)]
    assert last == "  and 2 more"
    assert len(caught.value.errors) == 7


def test_a_file_without_one_good_row_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    with pytest.raises(BadRowsError, match="1 of 1 rows are bad"):
        load_lines(tmp_path, "{}")


def test_bad_rows_error_survives_pickling() -> None:
    error = BadRowsError(("a:1: bad",), 3)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.errors, copy.num_rows) == (str(error), error.errors, 3)
