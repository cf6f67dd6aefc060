"""The build job as a user runs it: a process, a teacher over real HTTP, files on disk."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from mistakes import MARK, wait_for_the_last
from ray_head import short_folder

from metamath_ray.problems import load_bundled

ROOT = Path(__file__).resolve().parents[2]
JOB = [sys.executable, str(ROOT / "jobs" / "build_metamathqa.py")]
API_KEY = "sk-canary-3f81c0ffee"


def run_job(*args: str, timeout_s: float = 240, **env: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OPENAI_API_KEY": API_KEY} | env
    return subprocess.run(
        [*JOB, *args], capture_output=True, text=True, timeout=timeout_s, env=environment, cwd=ROOT
    )


def summary_of(run_dir: Path) -> dict:
    return json.loads((run_dir / "summary.json").read_text())


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("args", "line"),
    [
        pytest.param(
            ["--teacher.rpm", "0"], "teacher.rpm must be greater than or equal to 1, got '0'", id="bad-value"
        ),
        pytest.param(["--targets", "all"], "targets must be 'paper'", id="bad-targets"),
        pytest.param(
            ["--targets.gsm8k.fobar", "3"], "names no source of the seeds; they are: bundled", id="target"
        ),
        pytest.param(["--seeds", "own"], "own", id="unknown-seeds"),
        pytest.param(["--config", "nowhere.yaml"], "nowhere.yaml", id="missing-config"),
        pytest.param(["--prompts", "nowhere"], "nowhere", id="missing-prompts"),
    ],
)
def test_a_mistake_ends_with_one_clear_line(tmp_path: Path, args: list[str], line: str) -> None:
    """More of them, of other jobs too, in test_mistakes.py."""
    done = run_job("--run-dir", str(tmp_path / "run"), *args)
    assert done.returncode == 2, done.stderr
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def teacher_args(double, run_dir: Path, *, limit_seeds: int = 6) -> list[str]:
    return [
        "--run-dir",
        str(run_dir),
        "--limit-seeds",
        str(limit_seeds),
        "--teacher.base-url",
        double.base_url,
        "--teacher.model",
        "double-1",
    ]


@pytest.fixture(scope="module")
def answers_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The golds of the bundled seeds, so that the double is sometimes right."""
    path = tmp_path_factory.mktemp("answers") / "answers.json"
    path.write_text(json.dumps({seed.question: seed.answer for seed in load_bundled("train")}))
    return str(path)


@dataclass(frozen=True)
class Finished:
    """A run as a user starts it, with a Ray of its own, and what it left everywhere."""

    run_dir: Path
    done: subprocess.CompletedProcess[str]
    num_requests: int
    ray_logs: dict[str, bytes]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, module_double, answers_file) -> Finished:
    double = module_double(api_key=API_KEY, answers_file=answers_file, right_share=0.8)
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    with short_folder() as ray_folder:
        done = run_job(*teacher_args(double, run_dir), RAY_TMPDIR=str(ray_folder))
        assert done.returncode == 0, done.stderr
        logs = files_below((ray_folder / "ray" / "session_latest").resolve() / "logs")
    return Finished(run_dir, done, double.stats()["requests"], logs)


@pytest.mark.slow
def test_a_run_writes_what_the_design_names(finished: Finished) -> None:
    run_dir, done = finished.run_dir, finished.done
    assert done.stdout.strip().splitlines()[-1] == str(run_dir / "summary.json")
    assert "Unclosed" not in done.stdout + done.stderr
    assert "Progress bars" not in done.stdout + done.stderr
    summary = summary_of(run_dir)
    rows = pq.read_table(run_dir / "dataset").to_pylist()
    released = json.loads((run_dir / "MetaMathQA.json").read_text())
    assert summary["rows"] == len(rows) == len(released) > 0
    assert set(released[0]) == {"type", "query", "original_question", "response"}
    assert all(row["response"].splitlines()[-1] == f"The answer is: {row['expected']}" for row in rows)
    assert summary["teacher"]["calls_made"] == finished.num_requests
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert config["teacher"]["model"] == "double-1"
    assert (run_dir / "report.html").exists()
    assert (run_dir / "README.md").exists()


@pytest.mark.slow
def test_a_run_writes_its_key_nowhere(finished: Finished) -> None:
    said = {"stdout": finished.done.stdout.encode(), "stderr": finished.done.stderr.encode()}
    written = files_below(finished.run_dir) | said | finished.ray_logs
    assert any("worker-" in name for name in finished.ray_logs)
    assert [name for name, data in written.items() if API_KEY.encode() in data] == []


@pytest.mark.slow
def test_a_row_can_be_traced_to_its_request(finished: Finished) -> None:
    ledger = {
        record["key"]: record
        for name, data in files_below(finished.run_dir / "ledger").items()
        for record in map(json.loads, data.decode().splitlines())
    }
    for row in pq.read_table(finished.run_dir / "dataset").to_pylist():
        record = ledger[row["request_key"]]
        assert record["user"] == row["query"]
        assert record["model"] == row["teacher"]


@pytest.mark.slow
def test_a_run_again_sends_nothing_and_gives_the_same_bytes(
    tmp_path: Path, teacher_double, answers_file, cluster: str
) -> None:
    double = teacher_double(answers_file=answers_file, random_replies=True)
    run_dir = tmp_path / "run"
    first = run_job(*teacher_args(double, run_dir), RAY_ADDRESS=cluster)
    assert first.returncode == 0, first.stderr
    before, sent = summary_of(run_dir), double.stats()["requests"]
    again = run_job(*teacher_args(double, run_dir), "--num-workers", "2", RAY_ADDRESS=cluster)
    assert again.returncode == 0, again.stderr
    assert double.stats()["requests"] == sent
    assert summary_of(run_dir)["dataset_sha256"] == before["dataset_sha256"]
    more = run_job(
        *teacher_args(double, tmp_path / "more"),
        "--samples-per-question",
        "3",
        "--ledger",
        str(run_dir / "ledger"),
        RAY_ADDRESS=cluster,
    )
    assert more.returncode == 0, more.stderr
    asked = double.stats()
    assert (
        asked["samples"] - before["ledger"]["replies"] < 0.6 * before["ledger"]["replies"]
    )  # the third alone
    other = run_job(*teacher_args(double, run_dir), "--samples-per-question", "3")
    assert other.returncode == 2
    assert "was made with other options (samples_per_question" in other.stderr
    assert summary_of(run_dir)["dataset_sha256"] == before["dataset_sha256"]


@pytest.mark.slow
def test_a_run_killed_halfway_ends_with_the_hash_of_an_undisturbed_one(
    tmp_path: Path, teacher_double, answers_file, cluster: str
) -> None:
    options = {"answers_file": answers_file, "steady": True, "latency_s": [0.05, 0.3]}
    calm, disturbed = teacher_double(**options), teacher_double(**options)
    undisturbed = run_job(*teacher_args(calm, tmp_path / "calm", limit_seeds=30), RAY_ADDRESS=cluster)
    assert undisturbed.returncode == 0, undisturbed.stderr
    total = calm.stats()["requests"]

    args = [*JOB, *teacher_args(disturbed, tmp_path / "run", limit_seeds=30)]
    env = os.environ | {MARK: (mark := uuid.uuid4().hex)}
    process = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, env=env)
    while disturbed.stats()["requests"] < total // 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for_the_last(mark)
    while (state := disturbed.stats())["in_flight"]:
        time.sleep(0.05)  # for the double to see that nobody listens any more
    stored = stored_samples(tmp_path / "run")
    resumed = run_job(*args[len(JOB) :], RAY_ADDRESS=cluster)
    assert resumed.returncode == 0, resumed.stderr
    assert summary_of(tmp_path / "run")["dataset_sha256"] == summary_of(tmp_path / "calm")["dataset_sha256"]
    samples = stored_samples(tmp_path / "calm")
    sent_after = disturbed.stats()["samples"] - state["samples"]
    assert stored > 0
    assert sent_after == samples - stored  # what was stored was not asked for again


def stored_samples(run_dir: Path) -> int:
    return sum(
        data.count(b"\n")
        for name, data in files_below(run_dir / "ledger").items()
        if name.endswith(".jsonl") and "imported-" not in name
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behaviour", "line"),
    [
        pytest.param({"models": ["other-model"]}, "knows no such model", id="wrong-model-found-late"),
        pytest.param({"always": "insufficient_quota"}, "quota is exhausted", id="quota"),
    ],
)
def test_a_teacher_that_refuses_stops_the_run_resumable(
    tmp_path: Path, teacher_double, behaviour: dict, line: str, cluster: str
) -> None:
    double = teacher_double(**behaviour)
    done = run_job(*teacher_args(double, tmp_path / "run", limit_seeds=2), RAY_ADDRESS=cluster)
    assert done.returncode == 3, done.stderr
    assert line in done.stderr
    assert API_KEY not in done.stdout + done.stderr


@pytest.mark.slow
def test_the_bundled_build_is_real_and_the_same_with_one_and_two_workers(
    tmp_path: Path, cluster: str
) -> None:
    """No key, no network, no model: the bundled seeds and their recorded replies."""
    hashes, env = set(), {"OPENAI_API_KEY": "", "RAY_ADDRESS": cluster}
    for num_workers in (1, 2):
        run_dir = tmp_path / f"run{num_workers}"
        done = run_job("--run-dir", str(run_dir), "--num-workers", str(num_workers), **env)
        assert done.returncode == 0, done.stderr
        summary = summary_of(run_dir)
        hashes.add(summary["dataset_sha256"])
        assert summary["rows"] >= 600
        assert summary["teacher"]["calls_made"] == 0
        assert set(summary["by_type"]) == {
            "BUNDLED_AnsAug",
            "BUNDLED_FOBAR",
            "BUNDLED_Rephrased",
            "BUNDLED_SV",
        }
    assert len(hashes) == 1
    more = ["--samples-per-question", "3", "--limit-seeds", "5"]
    missing = run_job("--run-dir", str(tmp_path / "more"), *more, **env)
    assert missing.returncode == 3
    assert "have no reply in the ledger; give a teacher with --teacher.base-url" in missing.stderr


def test_a_plan_says_what_is_stored_and_what_is_left_to_send(tmp_path: Path) -> None:
    done = run_job("--plan", "--run-dir", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert "in the ledger: 2,608 of 2,608 replies\nto send: 0 requests" in done.stdout
    more = run_job("--plan", "--run-dir", str(tmp_path / "run"), "--samples-per-question", "3")
    assert "in the ledger: 2,608 of 3,522 replies\nto send: 914 requests" in more.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_pilot_asks_a_few_questions_and_gives_the_rest_with_intervals(
    tmp_path: Path, teacher_double, answers_file
) -> None:
    double = teacher_double(answers_file=answers_file, latency_s=[0.01, 0.02])
    prices = [
        "--teacher.usd-per-million-prompt-tokens",
        "1",
        "--teacher.usd-per-million-completion-tokens",
        "5",
    ]
    args = [*teacher_args(double, tmp_path / "run", limit_seeds=20), *prices, "--plan", "--pilot", "3"]
    done = run_job(*args)
    assert done.returncode == 0, done.stderr
    requests = double.stats()["requests"]
    assert f"pilot: 12 questions, {requests} requests by single calls, " in done.stdout
    assert re.search(r"\n  USD +\d\.\d\d  \(\d\.\d\d to \d\.\d\d\)\n", done.stdout), done.stdout
    assert re.search(r"\n  minutes or more +\d\.\d  \(", done.stdout), done.stdout
    again = run_job(*args, "--teacher.interface", "batch")
    assert double.stats()["requests"] == requests
    assert "0 requests by single calls" in again.stdout
    assert "up to 24 hours" in again.stdout
    poor = run_job(*args, "--pilot", "9", "--budget-usd", "0.000001")
    assert poor.returncode == 3
    assert "the budget of 1e-06 USD is spent" in poor.stderr


@pytest.mark.slow
def test_a_paper_run_says_where_its_rules_differ_and_leaves_no_question_out(
    tmp_path: Path, teacher_double, answers_file, cluster: str
) -> None:
    double = teacher_double(answers_file=answers_file, right_share=0.8)
    run_dir = tmp_path / "run"
    args = teacher_args(double, run_dir, limit_seeds=8)
    done = run_job(*args, "--compat", "paper", RAY_ADDRESS=cluster)
    assert done.returncode == 0, done.stderr
    summary = summary_of(run_dir)
    assert [counts["unusable_questions"] for counts in summary["by_type"].values()] == [0] * 4
    difference = summary["compat_difference"]
    assert difference["total"]["paths"] == sum(counts["paths"] for counts in summary["by_type"].values())
    assert difference["total"]["correct_paper"] == sum(c["correct"] for c in summary["by_type"].values())
    assert difference["seeds"]["seeds"] == 8
    page = (run_dir / "report.html").read_text()
    assert f"On {difference['total']['verdicts_differ']} of {difference['total']['paths']}" in page


@pytest.mark.slow
def test_targets_that_are_not_met_are_a_warning_and_are_in_the_summary(
    tmp_path: Path, teacher_double, answers_file, cluster: str
) -> None:
    double = teacher_double(answers_file=answers_file, right_share=1.0)
    run_dir = tmp_path / "run"
    args = ["--targets.bundled.answer-augmentation", "30", "--targets.bundled.fobar", "1"]
    args += [*teacher_args(double, run_dir, limit_seeds=4), "--max-samples-per-question", "2"]
    done = run_job(*args, RAY_ADDRESS=cluster)
    assert done.returncode == 0, done.stderr
    summary = summary_of(run_dir)
    miss = summary["unmet_targets"]["BUNDLED_AnsAug"]
    assert "every question was sampled as often as allowed" in miss["why"]
    warned = f"WARNING: BUNDLED_AnsAug: {miss['selected']} of 30 rows wanted: {miss['why']}"
    assert warned in done.stderr


@pytest.mark.slow
def test_batches_bring_the_rows_of_single_calls_and_survive_ctrl_c_and_kill(
    tmp_path: Path, teacher_double, answers_file, cluster: str
) -> None:
    """One prompt is always refused, a batch expires halfway, and two runs end before it is all there."""
    refused = load_bundled("train")[1].question[-40:]
    options = {"answers_file": answers_file, "right_share": 0.8, "steady": True, "always_for": refused}
    live, double = (teacher_double(always="context_too_long", **options) for _ in range(2))
    alone = run_job(*teacher_args(live, tmp_path / "live"), RAY_ADDRESS=cluster)
    assert alone.returncode == 0, alone.stderr

    run_dir = tmp_path / "batch"
    batch = ["--teacher.interface", "batch", "--teacher.batch.poll-every", "0.1"]
    args = [*teacher_args(double, run_dir), *batch, "--teacher.batch.max-requests", "8"]
    with job_held_at("look", double, args, script=["expired:0.5"], RAY_ADDRESS=cluster) as job:
        job.send_signal(signal.SIGINT)
        _, said = job.communicate(timeout=60)
    assert job.returncode == 130
    assert "error: interrupted; run the same command again to go on\n" in said
    assert "Traceback" not in said
    with job_held_at("download", double, args, RAY_ADDRESS=cluster) as job:
        job.kill()
        job.communicate()
    double.change(batch={})
    done = run_job(*args, RAY_ADDRESS=cluster)
    assert done.returncode == 0, done.stderr

    stats, summary = double.stats(), summary_of(run_dir)
    ids = stats["batch"]["ids"]
    assert len(set(ids)) == len(ids)
    assert stats["samples"] == stored_samples(run_dir) == summary["ledger"]["replies"]
    assert stats["requests"] == 0
    assert sum(counts["failed"] for counts in summary["by_type"].values()) > 0
    assert summary["dataset_sha256"] == summary_of(tmp_path / "live")["dataset_sha256"]


@contextmanager
def job_held_at(
    place: str, double, args: list[str], script: list[str] | None = None, **env: str
) -> Iterator[subprocess.Popen[str]]:
    """The job, in the middle of a call that the double does not answer; all of it has ended behind the block."""
    double.change(batch={"hold": place, "script": script or []})
    marked = os.environ | {"OPENAI_API_KEY": API_KEY, MARK: (mark := uuid.uuid4().hex)} | env
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen([*JOB, *args], text=True, cwd=ROOT, env=marked, **pipes) as job:
        while double.stats()["batch"]["held"] != place:
            assert job.poll() is None, job.stderr.read()
            time.sleep(0.05)
        yield job
    wait_for_the_last(mark)


@pytest.mark.slow
def test_a_batch_that_is_refused_stops_the_run_resumable(
    tmp_path: Path, teacher_double, cluster: str
) -> None:
    double = teacher_double(batch={"always": "failed:insufficient_quota"})
    args = [*teacher_args(double, tmp_path / "run", limit_seeds=2), "--teacher.interface", "batch"]
    done = run_job(*args, RAY_ADDRESS=cluster)
    assert done.returncode == 3, done.stderr
    assert "quota is exhausted" in done.stderr
    assert "run the same command again to go on" in done.stderr
