"""A server over real HTTP: what is sent, what its answers mean, which of them are the end."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from metamath_ray.evaluation import PAPER_STOP, Answer, EndpointOptions
from metamath_ray.evaluation._clients import (
    AttemptFailedError,
    BadEndpointError,
    EndpointClient,
    cut_at_stop,
    essential_stop,
)

from .conftest import make_requests

COMPLETION = {
    "choices": [{"text": " 3 + 4 = 7\nThe answer is: 7\n\nQuestion: more", "finish_reason": "length"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 12},
}


class Server(ThreadingHTTPServer):
    """Answers every POST with `status`, `headers` and `body`; keeps what it was sent."""

    models: Any
    status, body = 200, json.dumps(COMPLETION).encode()
    headers: dict[str, str]
    sent: list[dict[str, Any]]
    keys: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._reply(200 if self.server.models else 404, json.dumps(self.server.models).encode(), {})

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        self.server.sent.append(json.loads(self.rfile.read(length)) | {"path": self.path})
        self.server.keys.append(self.headers["authorization"])
        self._reply(self.server.status, self.server.body, self.server.headers)

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body))}.items():
            self.send_header(name, value)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.models = {"data": [{"id": "m", "owned_by": "vllm"}]}
    made.headers, made.sent, made.keys = {}, [], []
    thread = Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def ask(
    server: Server, *, model: str = "m", api: Any = "completions", check: bool = True, prompt: str = ""
) -> Answer:
    async def once() -> Answer:
        client = EndpointClient(
            f"http://127.0.0.1:{server.server_port}/v1", model, EndpointOptions(api=api), timeout_s=10
        )
        try:
            if check:
                await client.check()
            request = make_requests(1)[0]
            return await client.ask(replace(request, prompt=prompt) if prompt else request)
        finally:
            await client.close()

    return asyncio.run(once())


def test_a_completion_is_cut_where_a_stop_string_stands(server: Server) -> None:
    answer = ask(server)
    assert answer == Answer(" 3 + 4 = 7\nThe answer is: 7\n\n", "stop", 9, 12)


def test_what_is_asked_is_greedy_and_whole(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    ask(server)
    assert server.sent == [
        {
            "path": "/v1/completions",
            "model": "m",
            "prompt": "Q: What is 0 plus 0? A:",
            "temperature": 0.0,
            "top_p": 1.0,
            "max_tokens": 512,
            "stop": ["Question", "USER", "ASSISTANT", "Instruction"],
        }
    ]
    assert server.keys == ["Bearer sk-canary"]


def test_of_more_stop_strings_than_servers_take_those_of_the_prompt_are_sent(server: Server) -> None:
    ask(server, prompt="### Instruction:\n1 + 1\n\n### Response:")
    assert server.sent[0]["stop"] == ["Instruction", "Response", "Question", "USER"]


def test_chat_sends_the_prompt_as_a_message(server: Server) -> None:
    choice = {"message": {"role": "assistant", "content": "The answer is: 7"}, "finish_reason": "stop"}
    server.body = json.dumps({"choices": [choice]}).encode()
    assert ask(server, api="chat").text == "The answer is: 7"
    assert server.sent[0]["messages"] == [{"role": "user", "content": "Q: What is 0 plus 0? A:"}]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_passing_fault_is_asked_again(server: Server, status: int) -> None:
    server.status, server.headers = status, {"retry-after": "7"}
    with pytest.raises(AttemptFailedError, match=str(status)) as caught:
        ask(server)
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_refuses_for_good_is_an_error_of_the_user(server: Server, status: int) -> None:
    server.status, server.body = status, b'{"error": {"message": "no such key"}}'
    with pytest.raises(BadEndpointError, match=rf"refuses all requests \({status}\): no such key"):
        ask(server)


def test_a_400_is_that_request_alone(server: Server) -> None:
    server.status, server.body = 400, b'{"error": {"message": "too long"}}'
    assert ask(server) == Answer("", "failed", 0, 0, "400: too long")


@pytest.mark.parametrize(
    "body",
    [b"{", b"null", b"{}", b'{"choices": []}', b'{"choices": [{}]}', b"<html>"],
    ids=["torn", "null", "empty", "no-choice", "no-text", "page"],
)
def test_an_answer_that_is_no_completion_is_asked_again(server: Server, body: bytes) -> None:
    server.body = body
    with pytest.raises(AttemptFailedError):
        ask(server)


def test_the_only_model_served_needs_no_name(server: Server) -> None:
    ask(server, model="")
    assert server.sent[0]["model"] == "m"


def test_a_model_that_vllm_does_not_serve_is_named(server: Server) -> None:
    with pytest.raises(BadEndpointError, match="serves no model 'other', but m"):
        ask(server, model="other")


def test_without_a_list_of_models_one_must_be_named(server: Server) -> None:
    server.models = None
    with pytest.raises(BadEndpointError, match="name one as model"):
        ask(server, model="")
    assert ask(server, model="other").finish_reason == "stop"


def test_no_server_is_an_error_of_the_user() -> None:
    async def check() -> None:
        client = EndpointClient("http://127.0.0.1:9/v1", "m", EndpointOptions(), timeout_s=5)
        try:
            await client.check()
        finally:
            await client.close()

    with pytest.raises(BadEndpointError, match=r"no server answers at http://127\.0\.0\.1:9/v1"):
        asyncio.run(check())


def test_the_essential_stop_strings_cut_where_all_of_them_do() -> None:
    text = "a b. Question: c Instruction: d"
    assert essential_stop(PAPER_STOP) == ("Question", "USER", "ASSISTANT", "Instruction", "Response")
    assert cut_at_stop(text, PAPER_STOP) == cut_at_stop(text, essential_stop(PAPER_STOP)) == "a b. "
    assert cut_at_stop("nothing", PAPER_STOP) == "nothing"
