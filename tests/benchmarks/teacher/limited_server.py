"""A teacher on loopback that counts: so many requests in any 60 s, the rest get a 429.

    python tests/benchmarks/teacher/limited_server.py RPM LATENCY_FROM LATENCY_TO      (RPM 0: no limit)

Its first line on stdout is its base URL; `GET /stats` gives the arrivals (seconds, in order) and which of them were
refused; `POST /reset` forgets them.
"""

import asyncio
import json
import random
import sys
import time
from collections import deque

from aiohttp import web

TEXT = (
    " ".join(f"Step {step}: she has {step} and gets {step} more." for step in range(20))
    + "\nThe answer is: 7"
)
ANSWER = json.dumps(
    {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": "limited",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 800, "completion_tokens": 200, "total_tokens": 1000},
    }
).encode()
REFUSAL = json.dumps({"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}).encode()


class LimitedServer:
    """Counts by arrival in a sliding window, as strictly as a provider could."""

    def __init__(self, rpm: int, latency_s: tuple[float, float]) -> None:
        self._rpm, self._latency_s = rpm, latency_s
        self._window: deque[float] = deque()
        self._arrivals: list[float] = []
        self._refused: list[int] = []

    def app(self) -> web.Application:
        """Its routes."""
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/stats", self._stats)
        app.router.add_post("/reset", self._reset)
        return app

    async def _chat(self, request: web.Request) -> web.Response:
        now = time.monotonic()
        self._arrivals.append(now)
        await request.read()
        if self._rpm and not self._admit(now):
            self._refused.append(len(self._arrivals) - 1)
            return web.Response(status=429, body=REFUSAL, content_type="application/json")
        await asyncio.sleep(random.uniform(*self._latency_s))
        return web.Response(body=ANSWER, content_type="application/json")

    def _admit(self, now: float) -> bool:
        while self._window and now - self._window[0] >= 60.0:
            self._window.popleft()
        if len(self._window) >= self._rpm:
            return False
        self._window.append(now)
        return True

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response({"arrivals": self._arrivals, "refused": self._refused})

    async def _reset(self, _: web.Request) -> web.Response:
        self._arrivals, self._refused = [], []
        self._window.clear()
        return web.json_response({})


async def main() -> None:
    """Serve until killed."""
    rpm, *latency_s = sys.argv[1:]
    server = LimitedServer(int(rpm), (float(latency_s[0]), float(latency_s[1])))
    runner = web.AppRunner(server.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
