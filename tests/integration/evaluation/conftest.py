"""What the tests of the evaluation and the serving job share: processes, a tiny model, a look at what is left."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from metamath_ray.evaluation._reaper import MARKER
from metamath_ray.problems import load_bundled

ROOT = Path(__file__).resolve().parents[3]
EVALUATE = [sys.executable, str(ROOT / "jobs" / "evaluate_metamath.py")]
SERVE = [sys.executable, str(ROOT / "jobs" / "serve_model.py")]
ENGINE = ["--engine.device", "cpu", "--engine.max-num-seqs", "4", "--engine.cpu-kv-cache-gb", "0.2"]
NUM = 40
MARK = "METAMATH_RAY_TEST_RUN"
OURS = {MARK: uuid.uuid4().hex}
"""In the environment of every process that these tests start: another's engine may run on this machine."""


def run_job(
    job: list[str], *args: str, timeout_s: float = 240, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*job, *args],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=os.environ | OURS | env,
        cwd=ROOT,
    )


@contextmanager
def running(command: list[str], log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """The job while the block runs; both its outputs in `log`; killed at the end."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=ROOT, env=os.environ | OURS | env)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


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
    """The live processes of our engine by name: core, worker and the replica that started them."""
    found: dict[str, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            is_ours = MARKER in environ and environ.get(MARK) == OURS[MARK]
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                words = " ".join([process.name(), *process.cmdline()])
                found["core" if "EngineCore" in words else "worker" if "Worker" in words else "other"] = (
                    process
                )
        except psutil.Error:
            continue
    if "core" in found:
        found["replica"] = found["core"].parent() or found["core"]
    return found


def assert_nothing_is_left(timeout_s: float = 120) -> None:
    wait_for(lambda: not engine_processes(), timeout_s, "the end of the engine's processes")


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, initializer_range=0.2,
    )  # fmt: skip
    set_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
