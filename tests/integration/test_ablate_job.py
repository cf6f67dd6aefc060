"""`jobs/ablate_data_mix.py`: a real trial, many doubles at a time, and a driver that is killed."""

import csv
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mistakes import MARK, ROOT, run, wait_for_the_last

from metamath_ray.ablation import read_record
from metamath_ray.evaluation import load_predictions, predictions_path
from metamath_ray.step_metrics import load_metrics

pytestmark = pytest.mark.slow

JOB = "ablate_data_mix.py"
ON_RAY = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",
    "RAY_raylet_start_wait_time_s": "120",  # 30 s is short on a busy machine
}
TRIALS = {f"{mix}-{seed}" for mix in ("A", "A+R") for seed in range(4)}


def start_driver(output: Path, mark: str, *, concurrent: int) -> subprocess.Popen[str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "ablation_driver.py"), str(output), "2", str(concurrent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=output.parent,
        env=ours | {MARK: mark} | ON_RAY,
    )


def finish_driver(driver: subprocess.Popen[str], mark: str) -> list[str]:
    out, err = driver.communicate(timeout=280)
    assert driver.returncode == 0, out[-2000:] + err[-4000:]
    wait_for_the_last(mark)
    return out.splitlines()


def named(lines: list[str], event: str) -> list[str]:
    return [line.removeprefix(f"{event} ") for line in lines if line.startswith(f"{event} ")]


def summary_of(output: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((output / "summary.json").read_text())
    return summary


@pytest.mark.timeout(600)
def test_eight_trials_on_two_cpus_end_whatever_one_does_and_leave_nothing_behind(tmp_path: Path) -> None:
    output, mark = tmp_path / "run", uuid.uuid4().hex
    fault = tmp_path / "fail-A-2"
    fault.touch()
    lines = finish_driver(start_driver(output, mark, concurrent=8), mark)
    assert sorted(named(lines, "done")) == sorted(TRIALS - {"A-2"})
    assert [line for line in lines if line.startswith("failed ")] == ["failed A-2"]
    assert lines[-2] == "left 0 groups 0 actors 2 CPUs"
    assert lines[-1].startswith(
        "failed: 1 of 8 trials failed (A-2); A-2: OSError: the disk is full; traces are in "
    )

    fault.unlink()
    lines = finish_driver(start_driver(output, mark, concurrent=8), mark)
    assert named(lines, "done") == ["A-2"]
    assert lines[-2:] == ["left 0 groups 0 actors 2 CPUs", str(output / "summary.json")]
    assert summary_of(output)["run_now"] == 1
    assert {path.name for path in output.iterdir() if path.name[0] != "."} >= {
        "trials",
        "table.csv",
        "report.html",
    }
    assert not (output / "tune").exists()


@pytest.mark.timeout(600)
def test_a_killed_run_runs_the_trials_that_are_left_and_the_table_is_complete(tmp_path: Path) -> None:
    output, mark = tmp_path / "run", uuid.uuid4().hex
    for name in ("hold", "token-0", "token-1", "token-2"):
        (tmp_path / name).touch()
    driver = start_driver(output, mark, concurrent=2)
    assert driver.stdout is not None
    done: list[str] = []
    while len(done) < 3:
        line = driver.stdout.readline()
        assert line, driver.communicate()
        done += named([line.strip()], "done")
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    wait_for_the_last(mark)
    records = {name: (output / "trials" / name / "outcome.json").read_bytes() for name in done}
    assert len(list(output.glob("trials/*/outcome.json"))) == 3

    (tmp_path / "hold").unlink()
    mark = uuid.uuid4().hex
    lines = finish_driver(start_driver(output, mark, concurrent=2), mark)
    assert sorted(named(lines, "started")) == sorted(TRIALS - set(done))
    assert summary_of(output)["run_now"] == 5
    assert {name: (output / "trials" / name / "outcome.json").read_bytes() for name in done} == records
    assert len(list(output.glob("trials/*/outcome.json"))) == 8
    with (output / "table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [(line["mix"], line["seeds"], line["problems"]) for line in table] == [
        ("A", "4", "20"),
        ("A+R", "4", "20"),
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows of two types over 40 seed problems, those problems, and four to test with."""
    folder = tmp_path_factory.mktemp("data")
    seeds = [f"What is {a} plus {a + 3}?" for a in range(4, 44)]
    answers = [2 * a + 3 for a in range(4, 44)]
    problems = [
        {"id": f"s-{i}", "question": seed, "answer": f"That is {answer}.\n#### {answer}"}
        for i, (seed, answer) in enumerate(zip(seeds, answers, strict=True))
    ]
    rows = [
        {
            "type": f"OWN_{kind}",
            "query": f"{seed}{' Tell me.' * (kind == 'Rephrased')}",
            "original_question": seed,
            "response": f"It is {answer}.\n#### {answer}\nThe answer is: {answer}",
        }
        for kind in ("AnsAug", "Rephrased")
        for seed, answer in zip(seeds, answers, strict=True)
    ]
    tests = [{"question": f"What is {a} plus 1?", "answer": f"#### {a + 1}"} for a in range(90, 94)]
    (folder / "rows.json").write_text(json.dumps(rows))
    for name, lines in (("problems", problems), ("test", tests)):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (folder / "mixes.yaml").write_text("A: {AnsAug: 20}\nA+R: {AnsAug: 20, Rephrased: 20}\n")
    return folder


def arguments(data: Path, model: Path, **more: object) -> list[str]:
    values: dict[str, object] = {
        "data": data / "rows.json",
        "problems": f"own:{data / 'problems.jsonl'}",
        "mixes": data / "mixes.yaml",
        "model": model,
        "seeds": 1,
        "dev-problems": 5,
        "training.num-workers": 0,
        "training.precision": "fp32",
        "training.max-length": 256,
        "training.global-batch-size": 4,
        "training.micro-batch-size": 2,
        "training.max-steps": 3,
        "training.learning-rate": 0.001,
        "evaluation.engine": "transformers",
        "evaluation.benchmarks": f"own:{data / 'test.jsonl'}",
        "evaluation.max-new-tokens": 8,
        "output": "run",
    }
    return [word for name, value in (values | more).items() for word in (f"--{name}", str(value))]


@pytest.mark.timeout(600)
def test_real_trials_train_are_evaluated_and_leave_only_what_is_kept(
    data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    done = run(JOB, arguments(data, tiny_model), cwd=tmp_path, timeout_s=500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    output = tmp_path / "run"
    assert done.stdout.splitlines()[-1] == str(output / "summary.json")
    (chosen,) = summary_of(output)["chosen"]
    for mix, num_rows in (("A", 20), ("A+R", 40)):
        folder = output / "trials" / f"{mix}-0"
        record = read_record(folder)
        assert record is not None
        assert set(record.outcomes) == ({"dev", "own"} if mix == chosen else {"dev"})
        assert len(record.outcomes["dev"].problem_ids) == 5
        assert record.training["rows"] == num_rows
        assert len(load_metrics(folder / "metrics.jsonl")) == 3
        assert not (folder / "train").exists()
        dev = {json.loads(line)["question"] for line in (output / "dev.jsonl").read_text().splitlines()}
        queries = pq.read_table(folder / "rows.parquet").column("query").to_pylist()
        assert not any(query.startswith(question) for query in queries for question in dev)
    predictions = load_predictions(
        predictions_path(output / "trials" / f"{chosen}-0" / "evaluation-own", "own")
    )
    assert len(predictions) == 4
    assert all(prediction.completion_tokens <= 8 for prediction in predictions)

    again = run(JOB, arguments(data, tiny_model), cwd=tmp_path, timeout_s=300)
    assert again.returncode == 0, again.stderr
    assert "2 left to run" not in again.stdout
    assert "trial " not in again.stdout
    assert summary_of(output)["run_now"] == 0
