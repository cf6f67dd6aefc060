import json
from pathlib import Path

import pytest


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def a_row(number: int, *, kind: str = "GSM_AnsAug", words: int = 6) -> dict:
    return {
        "row_id": f"r{number}",
        "type": kind,
        "query": f"Tom has {number} apples and buys {number + 3} more. How many apples does he have?",
        "response": "so " * words
        + f"{number} + {number + 3} = {2 * number + 3}.\nThe answer is: {2 * number + 3}",
    }


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    kinds = ["GSM_AnsAug", "GSM_Rephrased", "GSM_FOBAR"]
    return write_rows(
        tmp_path / "new.jsonl", [a_row(i, kind=kinds[i % 3], words=2 + i % 17) for i in range(40)]
    )


@pytest.fixture
def base_file(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "base.jsonl", [a_row(i, words=3) for i in range(30, 60)])


@pytest.fixture
def endpoint():
    from model_double import serve_model_double

    with serve_model_double() as double:
        yield double
