import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metamath_ray.dataset_rows import write_published_response
from metamath_ray.problems import Problem
from metamath_ray.training._rows import load_rows

ROWS = [
    {"query": "1 + 1?", "response": "It is 2.\n#### 2\nThe answer is: 2"},
    {"query": "Half of 8?\nSay it.", "response": "8 / 2 = 4\nThe answer is: 4"},
]
GSM8K = {"question": "Tom has 3 bags of 500. Sum?", "answer": "3*500=<<3*500=1500>>1,500.\n#### 1,500"}


def write_run_dir(folder, rows):
    table = pa.Table.from_pylist(
        [{"type": "GSM_AnsAug", **row, "row_id": f"id{i}"} for i, row in enumerate(rows)]
    )
    (folder / "dataset").mkdir(parents=True)
    pq.write_table(table.slice(0, 1), folder / "dataset" / "part-00000.parquet")
    pq.write_table(table.slice(1), folder / "dataset" / "part-00001.parquet")
    return folder


def write_released(path, rows):
    path.write_text(
        json.dumps([{"type": "GSM_AnsAug", "original_question": "?", **row} for row in rows], indent=1)
    )
    return path


def write_lines(path, rows):
    path.write_text("\n\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize(
    ("write", "ids"),
    [
        (write_run_dir, ["id0", "id1"]),
        (write_released, ["row-0", "row-1"]),
        (write_lines, ["row-0", "row-1"]),
        (write_parquet, ["row-0", "row-1"]),
    ],
    ids=["run directory", "released JSON", "JSONL", "Parquet"],
)
def test_every_format_gives_the_same_rows(tmp_path, write, ids):
    loaded = load_rows(str(write(tmp_path / "data", ROWS)))
    assert [(row.row_id, row.query, row.response) for row in loaded.rows] == [
        (row_id, row["query"], row["response"]) for row_id, row in zip(ids, ROWS, strict=True)
    ]
    assert loaded.dropped == {}


def test_rows_keep_the_ids_that_the_data_gives_them(tmp_path):
    path = write_lines(tmp_path / "data", [ROWS[0] | {"row_id": "a"}, ROWS[1] | {"row_id": 7}])
    assert [row.row_id for row in load_rows(str(path)).rows] == ["a", "7"]


def test_rows_that_teach_nothing_are_dropped_and_counted_by_reason(tmp_path):
    bad = [
        {"query": " \n", "response": "The answer is: 2"},
        {"query": None, "response": "The answer is: 2"},
        {"query": "1?", "response": ""},
        {"query": "1?", "response": "It is 2."},
        {"query": "1?", "response": "The answer is: 2. No: The answer is: "},
        ROWS[0],
    ]
    loaded = load_rows(str(write_lines(tmp_path / "data", [*ROWS, *bad])))
    assert len(loaded.rows) == 2
    assert loaded.dropped == {"blank_query": 2, "blank_response": 1, "duplicate": 1, "no_answer_tail": 2}


def test_the_same_query_with_another_response_is_no_duplicate(tmp_path):
    other = ROWS[0] | {"response": "Two.\nThe answer is: 2"}
    assert len(load_rows(str(write_lines(tmp_path / "data", [ROWS[0], other]))).rows) == 2


def test_the_limit_counts_rows_that_are_kept(tmp_path):
    path = write_lines(tmp_path / "data", [{"query": "", "response": ""}, *ROWS])
    loaded = load_rows(str(path), limit=1)
    assert [row.row_id for row in loaded.rows] == ["row-1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"query": "a", "response": "b"}\n{"query": 3, "response": "b"}',
            ":2: column 'query' must hold text, got 3",
        ),
        ('{"query": "a"}', ":1: no column 'response', only query"),
        ('{"question": "a", "answer": "b"}', ":1: no column 'query', only question, answer; .*gsm8k:PATH"),
        ('\n{"query": "a", "resp', ":2: not JSON"),
        ("3", ":1: not an object but 3"),
        ('[{"query": "a", "response": "b"}, []]', r": row 1: not an object but \[\]"),
        ('[{"query": "a", ', "is no readable JSON"),
        ("", r"no row of .* can be trained on \(there is none\)"),
        (
            '{"query": "a", "response": "b"}',
            r"can be trained on \(no_answer_tail 1\).*ends in 'The answer is: ...'",
        ),
        ("PAR1 and no more", "is no readable Parquet file"),
    ],
    ids=[
        "number",
        "missing",
        "published",
        "cut-JSON",
        "no-object",
        "list-in-list",
        "cut-list",
        "empty",
        "none-left",
        "bad-Parquet",
    ],
)
def test_a_malformed_row_is_an_error_that_names_file_line_and_column(tmp_path, text, message):
    path = tmp_path / "data.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_rows(str(path))
    assert "data.json" in str(caught.value)


def test_half_a_surrogate_pair_becomes_a_question_mark(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"query": "a\\ud800b", "response": "The answer is: 1"}')
    assert load_rows(str(path)).rows[0].query == "a?b"


def test_two_rows_of_one_id_are_an_error_that_names_both(tmp_path):
    path = write_lines(tmp_path / "data", [row | {"row_id": "a"} for row in ROWS])
    with pytest.raises(ValueError, match=r"data:3: row_id 'a' is .*data:1's too"):
        load_rows(str(path))


def test_a_missing_file_and_a_folder_that_is_no_run_directory_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_rows(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="is no run directory of a build"):
        load_rows(str(tmp_path))


def test_a_published_gsm8k_solution_becomes_a_response_with_the_released_tail(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", [GSM8K])
    (row,) = load_rows(f"gsm8k:{path}").rows
    assert (row.row_id, row.query) == ("gsm8k-train-0", GSM8K["question"])
    assert row.response == "3*500=1,500.\n#### 1500\nThe answer is: 1500"


def test_a_published_math_solution_keeps_its_text_and_gets_no_hashes(tmp_path):
    problem = {
        "problem": "1/2 + 0?",
        "solution": r"It is $\boxed{\frac{1}{2}}$.",
        "level": "Level 1",
        "type": "Algebra",
    }
    (row,) = load_rows(f"math:{write_lines(tmp_path / 'train.jsonl', [problem])}").rows
    assert row.response == r"It is $\boxed{\frac{1}{2}}$." + "\nThe answer is: " + r"\frac{1}{2}"


def test_the_bundled_problems_can_be_trained_on():
    rows = load_rows("bundled").rows
    assert rows
    assert not any("<<" in row.response for row in rows)


def test_a_problem_without_solution_gives_no_response():
    assert write_published_response(Problem("a", "own", "gsm", "1 + 1?", "2")) == ""


def test_a_path_with_a_colon_that_exists_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "a:b", ROWS)
    assert len(load_rows("a:b").rows) == 2


@pytest.mark.published
@pytest.mark.parametrize(("name", "num_rows"), [("gsm8k", 7473), ("math", 7500)])
def test_published_train_sets_load_whole(published, name, num_rows):
    loaded = load_rows(f"{name}:{published / f'{name}_train.jsonl'}")
    assert len(loaded.rows) + sum(loaded.dropped.values()) == num_rows
    assert sum(loaded.dropped.values()) < 10
    assert not any("<<" in row.response and name == "gsm8k" for row in loaded.rows)
