"""`serve_model.py` with a real engine: one start, through a LoRA adapter, in exact mode; the last test ends it."""

import json
import select
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from .conftest import (
    ENGINE,
    EVALUATE,
    SERVE,
    assert_nothing_is_left,
    engine_processes,
    run_job,
    running,
    summary_of,
    wait_for,
)

KEY = "sk-canary-90e2"
PROMPTS = ("2 + 2 =", "How many boats are in the harbor?", "Oksana buys 7 bells", "The mill grinds")
NEW_TOKENS = 24
HEADERS = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Server:
    """A running `serve_model.py`."""

    base: str
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, path: str, body: dict[str, Any] | None = None, *, key: str = KEY) -> Any:
        request = urllib.request.Request(self.base + path, json.dumps(body).encode() if body else None)
        request.add_header("content-type", "application/json")
        request.add_header("authorization", f"Bearer {key}")
        with urllib.request.urlopen(request, timeout=280) as response:
            text = response.read().decode()
            return json.loads(text) if text else response.status

    def status(self, path: str, body: dict[str, Any] | None = None, *, key: str = KEY) -> int:
        """The status of an answer; 0 where nobody listens."""
        try:
            self.ask(path, body, key=key)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0
        return 200

    def complete(self, prompt: str, max_tokens: int = NEW_TOKENS) -> list[int]:
        """The ids of a greedy completion's tokens."""
        body = {"model": "tiny", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
        answer = self.ask("/v1/completions", body | {"ignore_eos": True, "return_token_ids": True})
        ids: list[int] = answer["choices"][0]["token_ids"]
        return ids


@pytest.fixture(scope="module")
def adapter(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of random weights, which changes what the model says."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM, set_seed

    folder = tmp_path_factory.mktemp("adapter")
    set_seed(1)
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=8, lora_alpha=16, target_modules=names, init_lora_weights=False)
    get_peft_model(LlamaForCausalLM.from_pretrained(tiny_llama), config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(tiny_llama: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [
        *SERVE, "--model", str(tiny_llama), "--adapter", str(adapter), "--exact", "--served-name", "tiny",
        "--port", str(port), "--drain-timeout-s", "200", *ENGINE,
    ]  # fmt: skip
    with running(command, log, METAMATH_RAY_SERVE_KEY=KEY) as process:
        wait_for(lambda: "serving tiny" in log.read_text() or process.poll() is not None, 300, "the server")
        assert process.poll() is None, log.read_text()
        assert "core" in engine_processes(), "what is looked for at the end is not seen while it is there"
        yield Server(f"http://127.0.0.1:{port}", process, log)
        process.terminate()
        process.wait(240)
    assert_nothing_is_left()


def test_openais_client_can_do_what_it_does_elsewhere(server: Server) -> None:
    from openai import OpenAI

    client = OpenAI(base_url=f"{server.base}/v1", api_key=KEY)
    assert [model.id for model in client.models.list()] == ["tiny"]
    completion = client.completions.create(
        model="tiny", prompt="2 + 2 =", max_tokens=8, n=2, temperature=1.0, logprobs=2
    )
    assert len(completion.choices) == 2
    assert completion.usage is not None
    assert completion.usage.completion_tokens > 0
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    assert len(logprobs.tokens) == len(logprobs.token_logprobs)
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "2 + 2?"}], "max_tokens": 8, "seed": 1}
    whole = client.chat.completions.create(**chat, temperature=0)
    chunks = client.chat.completions.create(**chat, temperature=0, stream=True)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == whole.choices[0].message.content


def test_only_the_key_opens_only_what_is_served(server: Server) -> None:
    asked = {"model": "tiny", "prompt": "1"}
    assert server.status("/health", key="") == 200
    assert server.status("/v1/completions", asked, key="wrong") == 401
    assert server.status("/v1/completions", {"model": "other", "prompt": "1"}) == 404
    assert server.status("/invocations", asked) == 404


def test_every_request_goes_through_the_adapter_and_none_past_it(
    server: Server, tiny_llama: Path, adapter: Path
) -> None:
    base, adapted = greedy(tiny_llama), greedy(tiny_llama, adapter)
    alone = [server.complete(prompt) for prompt in PROMPTS]
    with ThreadPoolExecutor(len(PROMPTS)) as threads:
        together = list(threads.map(server.complete, PROMPTS))
    assert alone == together == adapted
    assert [ids for ids in alone if ids in base] == []


def test_the_evaluation_job_takes_the_server(server: Server, tmp_path: Path) -> None:
    args = ["--base-url", f"{server.base}/v1", "--benchmarks", "bundled", "--limit", "5"]
    output = tmp_path / "run"
    done = run_job(EVALUATE, *args, "--max-new-tokens.all", "20", "--output", str(output), OPENAI_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    assert summary_of(output)["model"]["name"] == "tiny"


def test_a_server_that_ends_answers_what_it_has_begun_and_nothing_new(server: Server) -> None:
    num_tokens = 1500
    began, chunks = threading.Event(), list[dict[str, Any]]()
    with ThreadPoolExecutor(2) as threads, closing(HTTPConnection(server.base.split("/")[2])) as whole:
        whole.request("POST", "/v1/completions", json.dumps(greedy_body(0, num_tokens)), HEADERS)
        streamed = threads.submit(stream, server, num_tokens, began, chunks)
        assert began.wait(240)  # and what was sent before it has begun, too
        server.process.send_signal(signal.SIGTERM)
        asked = {"model": "tiny", "prompt": "1", "max_tokens": 1}
        wait_for(lambda: server.status("/v1/completions", asked) != 200, 60, "a refusal of new requests")
        has_come, _, _ = select.select([whole.sock], [], [], 0)
        assert not has_come, "it ended before a new one was refused: ask for more tokens"
        assert not streamed.done(), "it ended before a new one was refused: ask for more tokens"
        answer = json.load(whole.getresponse())
        assert len(answer["choices"][0]["token_ids"]) == num_tokens
        streamed.result(240)
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert server.process.wait(120) == 0, server.log.read_text()
    assert "ended" in server.log.read_text().splitlines()
    assert KEY not in server.log.read_text()
    assert_nothing_is_left()


def greedy_body(prompt: int, num_tokens: int) -> dict[str, Any]:
    body = {"model": "tiny", "prompt": PROMPTS[prompt], "max_tokens": num_tokens, "temperature": 0}
    return body | {"ignore_eos": True, "return_token_ids": True}


def stream(server: Server, num_tokens: int, began: threading.Event, chunks: list[dict[str, Any]]) -> None:
    """A streamed completion, chunk by chunk; `began` with the first."""
    body = greedy_body(1, num_tokens) | {"stream": True}
    request = urllib.request.Request(f"{server.base}/v1/completions", json.dumps(body).encode(), HEADERS)
    with urllib.request.urlopen(request, timeout=240) as response:
        for line in response:
            text = line.decode().removeprefix("data: ").strip()
            if text and text != "[DONE]":
                chunks.append(json.loads(text))
                began.set()


def greedy(model: Path, adapter: Path | None = None) -> list[list[int]]:
    """What transformers gives for `PROMPTS`, one at a time, in fp32."""
    import torch
    from peft import PeftModel
    from transformers import AutoTokenizer, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(model)
    llama: Any = LlamaForCausalLM.from_pretrained(model, dtype=torch.float32)
    if adapter is not None:
        llama = PeftModel.from_pretrained(llama, adapter)
    completions = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            for _ in range(NEW_TOKENS):
                following = llama(input_ids=ids).logits[:, -1].argmax(-1, keepdim=True)
                ids = torch.cat([ids, following], dim=1)
        completions.append(ids[0, -NEW_TOKENS:].tolist())
    return completions
