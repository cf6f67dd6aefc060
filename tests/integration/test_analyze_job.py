"""The analysis job as a user runs it: a process, Ray Data, a model, a page."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from model_double import MODEL, serve_model_double, vector_of

ROOT = Path(__file__).resolve().parents[2]
JOB = [sys.executable, str(ROOT / "jobs" / "analyze_data.py")]


def run_job(*args: str, timeout_s: float = 280) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run([*JOB, *args], capture_output=True, text=True, timeout=timeout_s, env=env, cwd=ROOT)


def write_rows(path: Path, numbers: range, kind: str) -> Path:
    rows = [
        {"row_id": f"{kind}-{i}", "type": kind, "query": f"Ann has {i} pens and gets {i % 7}. How many?",
         "response": f"{i} + {i % 7} = {i + i % 7}.\nThe answer is: {i + i % 7}"}
        for i in numbers
    ]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_command_gives_every_analysis_of_rows_with_tables_and_a_page(
    tiny_model: Path, tmp_path: Path
) -> None:
    new = write_rows(tmp_path / "new.jsonl", range(60), "GSM_SV")
    base = write_rows(tmp_path / "base.jsonl", range(40, 120), "GSM_AnsAug")
    output = tmp_path / "out"
    with serve_model_double() as endpoint:
        done = run_job(
            "--analyses", "diversity", "perplexity", "overlap", "--data", str(new), "--base", str(base),
            "--embedder", f"endpoint:{endpoint.base_url}", "--embedding.model", MODEL,
            "--embedding.cache", str(tmp_path / "cache"), "--language-model", f"model:{tiny_model}",
            "--output", str(output),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        assert len(endpoint.texts) == len(set(endpoint.texts)) == 120  # 20 are in both
    assert done.stdout.splitlines()[-1] == str(output / "summary.json")
    summary = json.loads((output / "summary.json").read_text())

    texts = [
        [f"{r['query']}\n{r['response']}" for r in map(json.loads, p.read_text().splitlines())]
        for p in (new, base)
    ]
    rows, others = (np.array([vector_of(text) for text in part], np.float64) for part in texts)
    rows, others = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (rows, others))
    gain = ((rows[:, None] - others[None]) ** 2).sum(axis=2).min(axis=1).mean()
    assert summary["diversity"]["total"]["gain"] == pytest.approx(gain, rel=1e-4)
    assert summary["overlap"]["total"]["exact"] == 20
    assert [group["rows"] for group in summary["perplexity"]["groups"]] == [60, 60, 80, 80]

    for name, column in (
        ("diversity", "squared_distance"),
        ("perplexity", "response_perplexity"),
        ("overlap", "jaccard"),
    ):
        with (output / f"{name}.csv").open() as file:
            lines = list(csv.DictReader(file))
        assert lines[0]["row_id"] == "GSM_SV-0"
        float(lines[0][column])
        assert (output / f"{name}.parquet").is_file()
    page = (output / "report.html").read_text()
    assert set(re.findall(r'<section id="(\w+)"', page)) == {"diversity", "perplexity", "overlap", "run"}
    assert "http" not in re.sub(r"endpoint:http\S*", "", page.split("</head>")[1]).replace("http-equiv", "")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--analyses", "diversty"), "must be 'diversity'"),
        (("--analyses", "overlap", "--data", "{data}"), "analysis overlap needs --base"),
        (("--analyses", "overlap", "--data", "{data}", "--base", "nothing.json"), "nothing.json"),
        (("--analyses", "overlap", "--data", "{data}", "--base", "{columns}"), "no column 'response'"),
        (
            ("--analyses", "diversity", "--data", "{data}", "--base", "{data}", "--embedding.model", "m",
             "--embedding.max-retries", "0", "--embedder", "endpoint:http://127.0.0.1:9/v1"),
            "no endpoint answers at http://127.0.0.1:9/v1",
        ),
    ],
    ids=["unknown-analysis", "no-base", "missing-file", "no-column", "no-endpoint"],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_2_with_nothing_written(
    args: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    names = {
        "data": write_rows(tmp_path / "data.jsonl", range(3), "T"),
        "columns": tmp_path / "columns.jsonl",
    }
    names["columns"].write_text('{"query": "q"}\n')
    output = tmp_path / "out"
    done = run_job(*(word.format(**names) for word in args), "--output", str(output), timeout_s=120)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr
    assert not output.exists()
