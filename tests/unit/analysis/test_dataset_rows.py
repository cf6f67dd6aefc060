import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metamath_ray.dataset_rows import DatasetRow, read_dataset_rows

RELEASED = [
    {"type": "GSM_SV", "query": "q1", "original_question": "o", "response": "r1"},
    {"type": "MATH_FOBAR", "query": "", "original_question": "o", "response": "r2"},
]


def test_the_released_file_gives_every_row_with_its_type_and_a_numbered_id(tmp_path):
    path = tmp_path / "MetaMathQA.json"
    path.write_text(json.dumps(RELEASED))
    assert read_dataset_rows(str(path)) == (
        DatasetRow("row-0", "GSM_SV", "q1", "r1", original_question="o"),
        DatasetRow("row-1", "MATH_FOBAR", "", "r2", original_question="o"),
    )


def test_a_run_directory_gives_the_rows_of_all_its_parts_with_their_ids(tmp_path):
    (tmp_path / "dataset").mkdir()
    for part in range(2):
        row = {"type": "T", "query": "q", "response": "r", "row_id": f"id-{part}", "teacher": "t"}
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "dataset" / f"part-{part}.parquet")
    assert [row.row_id for row in read_dataset_rows(str(tmp_path))] == ["id-0", "id-1"]


def test_jsonl_without_types_is_untyped(tmp_path):
    path = tmp_path / "rft.jsonl"
    path.write_text('{"query": "q", "response": "r"}\n\n{"query": "q2", "response": null}\n')
    assert read_dataset_rows(str(path))[1] == DatasetRow("row-1", "untyped", "q2", "")


def test_published_problems_become_rows_with_the_released_tail():
    row = read_dataset_rows("bundled")[0]
    assert row.type == "bundled"
    assert "<<" not in row.response
    assert "\nThe answer is: " in row.response


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"query": "q"}', "no column 'response', only query"),
        (
            '{"question": "q", "answer": "#### 1"}',
            "no column 'query', only question, answer; for a published file",
        ),
        ('{"query": 7, "response": "r"}', "column 'query' must hold text, got 7"),
        ("[1]", "not an object but 1"),
        ("{", "not JSON"),
        ("", "holds no rows"),
        ('{"row_id": "a", "query": "q", "response": "r"}\n' * 2, "rows.jsonl:1's too"),
    ],
    ids=["no-response", "published", "number", "no-object", "no-json", "empty", "repeated-id"],
)
def test_bad_data_is_one_line_that_names_place_and_column(content, message, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match=r".") as error:
        read_dataset_rows(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_parquet_file_without_its_columns_is_named_with_those_it_has(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"query": ["q"], "text": ["t"]}), path)
    with pytest.raises(ValueError, match="no column 'response', only query, text"):
        read_dataset_rows(str(path))


def test_a_missing_path_is_named():
    with pytest.raises(FileNotFoundError, match=r"nothing\.json"):
        read_dataset_rows("nothing.json")
