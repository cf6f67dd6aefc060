"""The evaluation job against a server over real HTTP: killed, finished, scored again, compared."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from metamath_ray.problems import load_bundled

from .conftest import EVALUATE, NUM, ROOT, completions_of, run_job, running, summary_of, wait_for

pytestmark = pytest.mark.slow


def double_args(double: Any, output: Path, *, benchmark: str = "bundled") -> list[str]:
    return [
        "--base-url", double.base_url, "--endpoint.api", "chat", "--benchmarks", benchmark, "--limit", str(NUM),
        "--output", str(output), "--max-in-flight", "4",
    ]  # fmt: skip


def test_a_killed_run_goes_on_and_sends_nothing_twice(
    teacher_double: Callable[..., Any], tmp_path: Path
) -> None:
    double, output = teacher_double(latency_s=[0.2, 0.2]), tmp_path / "run"
    command = [*EVALUATE, *double_args(double, output)]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    wait_for(lambda: len(completions_of(output)) >= 8, 60, "some completions")
    killed.kill()
    killed.wait()
    wait_for(lambda: not double.stats()["in_flight"], 60, "the end of what was under way")
    saved, sent = len(completions_of(output)), double.stats()["samples"]
    done = run_job(EVALUATE, *double_args(double, output))
    assert done.returncode == 0, done.stderr
    assert double.stats()["samples"] - sent == NUM - saved
    assert summary_of(output)["completions_reused"] == saved
    table = pq.read_table(output / "predictions" / "bundled.parquet")
    assert len(set(table.column("problem_id").to_pylist())) == table.num_rows == NUM
    assert done.stdout.splitlines()[-1] == str(output / "summary.json")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupted_run_says_so_in_one_line_and_keeps_what_came(
    teacher_double: Callable[..., Any], tmp_path: Path, number: signal.Signals
) -> None:
    double, output, log = teacher_double(latency_s=[0.2, 0.2]), tmp_path / "run", tmp_path / "log"
    args = double_args(double, output)
    with running([*EVALUATE, *args], log) as job:
        wait_for(lambda: len(completions_of(output)) >= 8, 120, "some completions")
        job.send_signal(number)
        assert job.wait(60) == 130, log.read_text()
    line = "error: interrupted; run the same command again to go on"
    assert [one for one in log.read_text().splitlines() if "completions" not in one] == [line]
    saved = len(completions_of(output))
    assert saved < NUM
    assert run_job(EVALUATE, *args).returncode == 0
    assert summary_of(output)["completions_reused"] == saved


def test_a_finished_run_is_scored_and_compared_without_a_server(
    teacher_double: Callable[..., Any], tmp_path: Path
) -> None:
    answers = {problem.question: problem.answer for problem in load_bundled("test")}
    doubles = [teacher_double(answers=answers, right_share=share, steady=True) for share in (0.9, 0.3)]
    (tmp_path / "prompt.txt").write_text("{question}")
    for double, name in zip(doubles, "ab", strict=True):
        args = [*double_args(double, tmp_path / name), "--prompt", str(tmp_path / "prompt.txt")]
        assert run_job(EVALUATE, *args).returncode == 0
    before = summary_of(tmp_path / "a")
    assert run_job(EVALUATE, "--regrade", "--output", str(tmp_path / "a")).returncode == 0
    assert summary_of(tmp_path / "a") == before
    compared = run_job(EVALUATE, "--compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert compared.returncode == 0, compared.stderr
    document = json.loads((tmp_path / "b" / "comparison.json").read_text())["benchmarks"]["bundled"]
    paired = document["fixed"]
    assert paired["correct_a"] == before["benchmarks"]["bundled"]["correct"] > paired["correct_b"]
    assert paired["only_a"] - paired["only_b"] == paired["correct_a"] - paired["correct_b"]
    assert f"{document['num_other_completions']} completions differ" in compared.stdout
    assert f"{paired['num_other_verdicts']} verdicts differ" in compared.stdout
    assert (tmp_path / "b" / "comparison.html").is_file()


def test_the_backward_twin_is_scored_by_kind(teacher_double: Callable[..., Any], tmp_path: Path) -> None:
    double = teacher_double()
    done = run_job(EVALUATE, *double_args(double, tmp_path / "run", benchmark="bundled_backward"))
    assert done.returncode == 0, done.stderr
    scores = summary_of(tmp_path / "run")["benchmarks"]["bundled_backward"]
    assert set(scores["fixed"]["by_kind"]) == {"FOBAR", "SV"}
    assert sum(kind["n"] for kind in scores["fixed"]["by_kind"].values()) == NUM


def test_another_model_needs_another_folder(teacher_double: Callable[..., Any], tmp_path: Path) -> None:
    double = teacher_double(models=["a", "b"])
    args = double_args(double, tmp_path / "run")
    assert run_job(EVALUATE, *args, "--model", "a").returncode == 0
    other = run_job(EVALUATE, *args, "--model", "b")
    assert (other.returncode, "made with other options (model" in other.stderr) == (2, True)
