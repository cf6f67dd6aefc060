"""The evaluation and the serving job as a user runs them: processes, Ray, a real engine of a tiny model."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from metamath_ray.evaluation._reaper import MARKER
from metamath_ray.problems import load_bundled

ROOT = Path(__file__).resolve().parents[2]
EVALUATE = [sys.executable, str(ROOT / "jobs" / "evaluate_metamath.py")]
SERVE = [sys.executable, str(ROOT / "jobs" / "serve_model.py")]
KEY = "sk-canary-90e2"
ENGINE = ["--engine.device", "cpu", "--engine.max-num-seqs", "4", "--engine.cpu-kv-cache-gb", "0.2"]
NUM = 40


def run_job(
    job: list[str], *args: str, timeout_s: float = 240, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*job, *args], capture_output=True, text=True, timeout=timeout_s, env=os.environ | env, cwd=ROOT
    )


def completions_of(output: Path) -> list[dict[str, Any]]:
    lines = [line for path in output.glob("predictions/*.jsonl") for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines if line.endswith("}")]


def summary_of(output: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((output / "summary.json").read_text())
    return summary


def wait_for(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {timeout_s} s"
        time.sleep(0.2)
    return value


def engine_processes() -> dict[str, psutil.Process]:
    """The live processes of an engine by name: core, worker and the replica that started them."""
    found: dict[str, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if MARKER in process.environ() and process.status() != psutil.STATUS_ZOMBIE:
                kind = (
                    "core"
                    if "EngineCore" in process.name() or "EngineCore" in " ".join(process.cmdline())
                    else ""
                )
                kind = kind or (
                    "worker" if "Worker" in " ".join([process.name(), *process.cmdline()]) else "other"
                )
                found[kind] = process
        except psutil.Error:
            continue
    if "core" in found:
        found["replica"] = found["core"].parent() or found["core"]
    return found


def assert_nothing_is_left(timeout_s: float = 40) -> None:
    wait_for(lambda: not engine_processes(), timeout_s, "the end of the engine's processes")


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Llama with random weights and heads of 64, which vLLM's CPU attention takes; a chat template that is a line."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    folder = tmp_path_factory.mktemp("tiny-llama")
    bpe = ByteLevelBPETokenizer()
    texts = [problem.question for problem in load_bundled("train")]
    bpe.train_from_iterator(texts, vocab_size=512, special_tokens=["<|end|>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|end|>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=512, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, initializer_range=0.2,
    )  # fmt: skip
    set_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


# Mistakes: one clear line each, nothing started.


@pytest.mark.parametrize(
    ("job", "args", "line"),
    [
        pytest.param(EVALUATE, ["--model", "/nowhere/model"], "there is no such folder", id="missing-model"),
        pytest.param(EVALUATE, ["--model", "{tmp}"], "has no config.json", id="no-model-folder"),
        pytest.param(EVALUATE, ["--model", "{tmp}/bare"], "has no weights", id="no-weights"),
        pytest.param(EVALUATE, [], "model or base_url must be given", id="no-model"),
        pytest.param(EVALUATE, ["--modle", "x"], "did you mean --model", id="unknown-option"),
        pytest.param(EVALUATE, ["--base-url", "http://127.0.0.1:9/v1"], "no server answers", id="no-server"),
        pytest.param(
            EVALUATE,
            ["--model", "/nowhere", "--benchmarks", "own:{tmp}/bad.jsonl"],
            "bad.jsonl:2: field 'question'",
            id="bad-row",
        ),
        pytest.param(
            EVALUATE, ["--regrade", "--output", "{tmp}"], "no folder of an evaluation", id="regrade"
        ),
        pytest.param(EVALUATE, ["--compare", "{tmp}", "{tmp}"], "holds no *.parquet", id="compare"),
        pytest.param(SERVE, [], "model must be given", id="serve-no-model"),
        pytest.param(SERVE, ["--model", "{tmp}/bare"], "has no weights", id="serve-no-weights"),
        pytest.param(
            SERVE, ["--model", "m", "--host", "0.0.0.0"], "METAMATH_RAY_SERVE_KEY", id="serve-no-key"
        ),
    ],
)
def test_a_mistake_ends_with_one_clear_line(
    tmp_path: Path, job: list[str], args: list[str], line: str
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "bad.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n{"question": 3}\n')
    done = run_job(job, *[arg.replace("{tmp}", str(tmp_path)) for arg in args])
    assert done.returncode == 2, done.stderr
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_port_in_use_is_said_before_anything_starts(tiny_model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run_job(SERVE, "--model", str(tiny_model), "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "Address already in use; give another --port" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


# A server over real HTTP in place of an engine.


def double_args(double: Any, output: Path) -> list[str]:
    return [
        "--base-url", double.base_url, "--endpoint.api", "chat", "--benchmarks", "bundled", "--limit", str(NUM),
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
    time.sleep(0.5)
    saved, sent = len(completions_of(output)), double.stats()["samples"]
    done = run_job(EVALUATE, *double_args(double, output))
    assert done.returncode == 0, done.stderr
    assert double.stats()["samples"] - sent == NUM - saved
    assert summary_of(output)["completions_reused"] == saved
    table = pq.read_table(output / "predictions" / "bundled.parquet")
    assert len(set(table.column("problem_id").to_pylist())) == table.num_rows == NUM
    assert done.stdout.splitlines()[-1] == str(output / "summary.json")


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
    compared = run_job(
        EVALUATE, "--compare", str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "c")
    )
    assert compared.returncode == 0, compared.stderr
    paired = json.loads((tmp_path / "c" / "comparison.json").read_text())["benchmarks"]["bundled"]["fixed"]
    assert paired["correct_a"] == before["benchmarks"]["bundled"]["correct"] > paired["correct_b"]
    assert paired["only_a"] - paired["only_b"] == paired["correct_a"] - paired["correct_b"]
    assert (tmp_path / "c" / "comparison.html").is_file()


def test_another_model_needs_another_folder(teacher_double: Callable[..., Any], tmp_path: Path) -> None:
    double = teacher_double(models=["a", "b"])
    args = double_args(double, tmp_path / "run")
    assert run_job(EVALUATE, *args, "--model", "a").returncode == 0
    other = run_job(EVALUATE, *args, "--model", "b")
    assert (other.returncode, "made with other options (model" in other.stderr) == (2, True)


# A real engine.


def engine_args(model: Path, output: Path) -> list[str]:
    return [
        "--model", str(model), "--benchmarks", "bundled", "--limit", str(NUM), "--max-new-tokens.all", "300",
        "--output", str(output), *ENGINE,
    ]  # fmt: skip


@contextmanager
def running(command: list[str], log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=ROOT, env=os.environ | env)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_evaluation_outlives_its_engine_and_its_driver(tiny_model: Path, tmp_path: Path) -> None:
    output, log = tmp_path / "run", tmp_path / "log"
    command = [*EVALUATE, *engine_args(tiny_model, output)]
    with running(command, log) as driver:
        for victim in ("core", "replica"):
            had = len(completions_of(output))
            wait_for(lambda: len(completions_of(output)) >= had + 2, 300, "completions: " + log.read_text())  # noqa: B023
            process = engine_processes()[victim]
            process.kill()
        had = len(completions_of(output))
        wait_for(lambda: len(completions_of(output)) > had, 300, "completions after both deaths")
        assert driver.poll() is None, log.read_text()
        driver.kill()
    assert_nothing_is_left()
    saved = completions_of(output)
    assert len(saved) < NUM
    done = run_job(EVALUATE, *engine_args(tiny_model, output), timeout_s=400)
    assert done.returncode == 0, done.stderr
    now = completions_of(output)
    assert now[: len(saved)] == saved
    assert len({one["key"] for one in now}) == len(now) == NUM
    assert summary_of(output)["completions_reused"] == len(saved)
    assert summary_of(output)["engine"]["name"] == "vllm"
    assert_nothing_is_left()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_engine_that_can_not_start_says_why_and_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    args = [*engine_args(tiny_model, tmp_path / "run"), "--engine.cpu-kv-cache-gb", "100000"]
    done = run_job(EVALUATE, *args, timeout_s=300)
    assert done.returncode == 1, done.stderr
    assert "the engine did not start: " in done.stderr
    assert "memory" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert_nothing_is_left()


def ask(url: str, body: dict[str, Any] | None = None, *, key: str = KEY) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None)
    request.add_header("content-type", "application/json")
    request.add_header("authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=120) as response:
        text = response.read().decode()
        return json.loads(text) if text else response.status


def status_of(url: str, body: dict[str, Any] | None = None, *, key: str = KEY) -> int:
    try:
        ask(url, body, key=key)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_served_model_speaks_openais_protocol(tiny_model: Path, tmp_path: Path) -> None:
    from openai import OpenAI

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    command = [*SERVE, "--model", str(tiny_model), "--served-name", "tiny", "--port", str(port), *ENGINE]
    with running(command, log, METAMATH_RAY_SERVE_KEY=KEY) as server:
        wait_for(lambda: "serving tiny" in log.read_text() or server.poll(), 300, "the server")
        assert server.poll() is None, log.read_text()
        client = OpenAI(base_url=f"{base}/v1", api_key=KEY)
        assert [model.id for model in client.models.list()] == ["tiny"]
        assert ask(f"{base}/health", key="") == 200
        completion = client.completions.create(
            model="tiny", prompt="2 + 2 =", max_tokens=8, n=2, temperature=1.0, logprobs=2
        )
        assert len(completion.choices) == 2
        assert completion.usage.completion_tokens > 0
        assert len(completion.choices[0].logprobs.tokens) == len(
            completion.choices[0].logprobs.token_logprobs
        )
        chat = {
            "model": "tiny",
            "messages": [{"role": "user", "content": "2 + 2?"}],
            "max_tokens": 8,
            "seed": 1,
        }
        whole = client.chat.completions.create(**chat, temperature=0)
        chunks = client.chat.completions.create(**chat, temperature=0, stream=True)
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert streamed == whole.choices[0].message.content
        assert status_of(f"{base}/v1/completions", {"model": "tiny", "prompt": "1"}, key="wrong") == 401
        assert status_of(f"{base}/v1/completions", {"model": "other", "prompt": "1"}) == 404
        assert status_of(f"{base}/invocations", {"model": "tiny", "prompt": "1"}) == 404
        args = [
            "--base-url",
            f"{base}/v1",
            "--benchmarks",
            "bundled",
            "--limit",
            "5",
            "--max-new-tokens.all",
            "20",
        ]
        done = run_job(EVALUATE, *args, "--output", str(tmp_path / "run"), OPENAI_API_KEY=KEY)
        assert done.returncode == 0, done.stderr
        assert summary_of(tmp_path / "run")["model"]["name"] == "tiny"
        server.send_signal(signal.SIGTERM)
        assert server.wait(120) == 0
    assert KEY not in log.read_text()
    assert_nothing_is_left()
