"""A stand-in for a paid embedding and scoring endpoint: OpenAI's protocol over real HTTP, in a thread; counts."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

MODEL = "double-embedder"


def vector_of(text: str, dimension: int = 16) -> list[float]:
    """What the double's model makes of a text: fixed numbers, not of length 1."""
    seed = list(text.encode())
    return np.random.default_rng(seed).standard_normal(dimension).astype(np.float32).tolist()


@dataclass
class ModelDouble:
    """The double's behaviour and what was asked of it; change it between calls."""

    base_url: str = ""
    api_key: str = ""
    statuses: list[int] = field(default_factory=list)  # what the next requests meet; 200 when it is empty
    fail_for: str = ""  # a 500 for every request that holds this text
    drop_last: bool = False  # one vector too few
    no_log_probs: bool = False
    scoring_model: Path | None = None
    texts: list[str] = field(default_factory=list)  # embedded
    prompts: list[list[int]] = field(default_factory=list)  # scored
    requests: int = 0
    keys: set[str] = field(default_factory=set)

    def answer(self, path: str, body: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        self.requests += 1
        self.keys.add(key)
        if self.api_key and key != f"Bearer {self.api_key}":
            return 401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            return status, {"error": {"message": f"told to answer {status}"}}
        if self.fail_for and self.fail_for in json.dumps(body):
            return 500, {"error": {"message": "told to fail"}}
        if path == "/v1/embeddings":
            return self._embed(body)
        return (
            self._score(body) if path == "/v1/completions" else (404, {"error": {"message": "no such path"}})
        )

    def _embed(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if body["model"] != MODEL:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist"}}
        self.texts += body["input"]
        entries = [{"index": i, "embedding": vector_of(text)} for i, text in enumerate(body["input"])]
        return 200, {"data": entries[::-1][self.drop_last :]}  # in any order

    def _score(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        ids = body["prompt"]
        self.prompts.append(ids)
        log_probs = [
            None,
            *plain_log_probs(self.scoring_model, ids),
            -0.5,
        ]  # the last is of what it completed
        inner = None if self.no_log_probs else {"token_logprobs": log_probs, "tokens": ["?"] * len(log_probs)}
        return 200, {"choices": [{"index": 0, "text": "?", "logprobs": inner}]}


def plain_log_probs(folder: Path | None, ids: list[int]) -> list[float]:
    """log p of each token but the first, by transformers alone, one text at a time."""
    import torch
    from transformers import AutoModelForCausalLM

    assert folder is not None
    if folder not in _MODELS:
        _MODELS[folder] = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = _MODELS[folder](torch.tensor([ids])).logits[0, :-1]
        picked = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(ids[1:])[:, None])
    return picked[:, 0].tolist()


_MODELS: dict[Path, Any] = {}


@contextmanager
def serve_model_double() -> Iterator[ModelDouble]:
    """A double on a free port of loopback."""
    double = ModelDouble()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = double.answer(self.path, body, self.headers.get("Authorization", ""))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    double.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
