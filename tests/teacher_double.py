"""A stand-in for a paid teacher: speaks OpenAI's protocol over real HTTP, counts, and misbehaves as told.

    python tests/teacher_double.py '{"right_share": 0.6, "latency_s": [0.01, 0.05]}'

serves until it is killed; its first line on stdout is its base URL. `GET /stats` tells what was asked of it,
`POST /options` changes options while it runs. Inside a test's own event loop use `serve(DoubleOptions(…))`.
"""

import asyncio
import collections
import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web
from batch_double import BatchOptions, BatchRoutes, BatchStats
from double_faults import error, misbehave, send
from double_replies import reply_text

MODEL = "double-1"


@dataclass(frozen=True)
class DoubleOptions:
    """How the double behaves."""

    port: int = 0
    models: list[str] = field(default_factory=lambda: [MODEL])
    owned_by: str = "double"
    api_key: str = ""  # any key will do where it is empty
    script: list[str] = field(default_factory=list)  # what the first requests meet, in their order
    always: str = "ok"  # what all the others meet
    always_for: str = ""  # of these, only those whose last message holds this text
    ignore_n: bool = False
    reject_n: bool = False
    rpm: int = 0  # the 429 of a server that counts, over every window of 60 s
    latency_s: list[float] = field(default_factory=lambda: [0.0, 0.0])
    steady: bool = False  # every sample of a prompt has one text, whatever was asked before
    random_replies: bool = False  # new text at every request, as a real teacher's
    answers: dict[str, str] = field(default_factory=dict)  # question → gold answer
    answers_file: str = ""  # the same as a JSON file
    right_share: float = 0.5  # of the replies to a question in `answers`
    batch: BatchOptions = field(default_factory=BatchOptions)


@dataclass
class Stats:
    """What was asked of the double since it started."""

    requests: int = 0
    samples: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    by_prompt: collections.Counter[str] = field(default_factory=collections.Counter)
    by_prompt_and_n: collections.Counter[str] = field(default_factory=collections.Counter)
    samples_given: collections.Counter[str] = field(default_factory=collections.Counter)
    by_status: collections.Counter[str] = field(default_factory=collections.Counter)
    arrivals_per_s: collections.Counter[str] = field(default_factory=collections.Counter)
    arrivals: list[float] = field(default_factory=list)
    batch: BatchStats = field(default_factory=BatchStats)


def prompt_digest(messages: Sequence[Any]) -> str:
    """The name of a prompt in `Stats`."""
    text = json.dumps([[message["role"], message["content"]] for message in messages])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class TeacherDouble:
    """The server's state and its handlers."""

    def __init__(self, options: DoubleOptions) -> None:
        if options.answers_file:
            with open(options.answers_file, encoding="utf-8") as file:  # noqa: PTH123  # before the loop runs
                options = replace(options, answers=json.load(file))
        self.options = options
        self.stats = Stats()
        self.base_url = ""
        self._script = collections.deque(options.script)
        self._passed: collections.deque[float] = collections.deque()

    def app(self) -> web.Application:
        """The routes of the protocol and the two of the double itself."""
        app = web.Application(client_max_size=1 << 28)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/stats", self._stats)
        app.router.add_post("/options", self._change)
        BatchRoutes(self).add_to(app)
        return app

    def change(self, **changes: Any) -> None:
        """Behave otherwise from now on; a new `script` begins at its start."""
        if isinstance(batch := changes.get("batch"), dict):
            changes["batch"] = BatchOptions(**batch)
        self.options = replace(self.options, **changes)
        if "script" in changes:
            self._script = collections.deque(self.options.script)

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response(vars(self.stats) | {"batch": vars(self.stats.batch)})

    async def _change(self, request: web.Request) -> web.Response:
        self.change(**await request.json())
        return web.json_response({})

    async def _models(self, request: web.Request) -> web.Response:
        if (refused := self.refuse_key(request)) is not None:
            return refused
        return web.json_response(
            {
                "object": "list",
                "data": [
                    {"id": m, "object": "model", "owned_by": self.options.owned_by}
                    for m in self.options.models
                ],
            }
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        stats = self.stats
        stats.requests += 1
        stats.in_flight += 1
        stats.max_in_flight = max(stats.max_in_flight, stats.in_flight)
        stats.arrivals.append(time.time())
        stats.arrivals_per_s[str(int(time.time()))] += 1
        try:
            response = await self._answer(request, await request.json())
            stats.by_status[str(response.status)] += 1
            return response
        finally:
            stats.in_flight -= 1

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        messages, n = body["messages"], int(body.get("n", 1))
        digest = prompt_digest(messages)
        self.stats.by_prompt[digest] += 1
        self.stats.by_prompt_and_n[f"{digest}:{n}"] += 1
        if (refused := self.refuse_key(request) or self._refuse_rate()) is not None:
            return refused
        if body.get("model") not in self.options.models:
            return error(404, f"The model `{body.get('model')}` does not exist", "model_not_found")
        if self.options.reject_n and n > 1:
            return error(400, "only n=1 is supported", "unsupported_parameter")
        fault, _, after_s = self.next_fault(messages[-1]["content"]).partition(":")
        await asyncio.sleep(random.uniform(*self.options.latency_s))
        if (response := await misbehave(request, fault, after_s)) is not None:
            return response
        return await send(request, json.dumps(self.completion(body, fault)).encode(), fault)

    def next_fault(self, last: str) -> str:
        """What a request with this last message meets."""
        if self._script:
            return self._script.popleft()
        return self.options.always if self.options.always_for in last else "ok"

    def refuse_key(self, request: web.Request) -> web.Response | None:
        wanted = self.options.api_key
        if not wanted or request.headers.get("Authorization") == f"Bearer {wanted}":
            return None
        return error(401, "Incorrect API key provided", "invalid_api_key")

    def _refuse_rate(self) -> web.Response | None:
        if not self.options.rpm:
            return None
        now = time.monotonic()
        while self._passed and now - self._passed[0] >= 60.0:
            self._passed.popleft()
        if len(self._passed) >= self.options.rpm:
            return error(429, "Rate limit reached", "rate_limit_exceeded")
        self._passed.append(now)
        return None

    def completion(self, body: dict[str, Any], fault: str) -> dict[str, Any]:
        """A chat completion, as right or wrong as `fault` has it."""
        digest, n = prompt_digest(body["messages"]), 1 if self.options.ignore_n else int(body.get("n", 1))
        texts = [
            self._text(body["messages"], digest) for _ in range(max(1, n - 1) if fault == "fewer" else n)
        ]
        reasons = {"length": "length", "content_filter": "content_filter"}
        if fault in ("empty", "null_content", "content_filter"):
            texts = ["" for _ in texts]
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": None if fault == "null_content" else text},
                "finish_reason": reasons.get(fault, "stop"),
            }
            for index, text in enumerate(texts)
        ]
        self.stats.samples += len(choices)
        prompt_tokens = sum(len(message["content"]) for message in body["messages"]) // 4
        completion_tokens = sum(len(text) // 4 for text in texts)
        return {
            "id": f"chatcmpl-{self.stats.requests}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body["model"],
            "choices": [] if fault == "no_choices" else choices,
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        }

    def _text(self, messages: Sequence[Any], digest: str) -> str:
        counter = 0 if self.options.steady else self.stats.samples_given[digest]
        self.stats.samples_given[digest] += 1
        salt = os.urandom(8).hex() if self.options.random_replies else ""
        chance = random.Random(f"{digest}/{counter}/{salt}")
        return reply_text(messages, chance, self.options.answers, self.options.right_share)


@asynccontextmanager
async def serve(options: DoubleOptions) -> AsyncIterator[TeacherDouble]:
    """A double on loopback, on the running event loop; `base_url` says where."""
    double = TeacherDouble(options)
    runner = web.AppRunner(double.app(), shutdown_timeout=0.1, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", options.port).start()
        double.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield double
    finally:
        await runner.cleanup()


async def main(options: DoubleOptions) -> None:
    """Serve until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with serve(options) as double:
        print(double.base_url, flush=True)
        await ended.wait()


if __name__ == "__main__":
    given = json.loads(sys.argv[1] if len(sys.argv) > 1 else "{}")
    given["batch"] = BatchOptions(**given.get("batch", {}))
    asyncio.run(main(DoubleOptions(**given)))
