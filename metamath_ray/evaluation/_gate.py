"""What of a server application may be reached, and by whom: an ASGI application in front of another."""

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

HEALTH = "/health"
PATHS = (HEALTH, "/v1/models", "/v1/completions", "/v1/chat/completions")
"""All that is served. vLLM's application has more, some of it outside its own key check (`/invocations`)."""


def hash_key(key: str) -> str:
    """SHA-256 of a bearer key, 64 hex digits; empty for no key. Only this travels through the cluster."""
    return hashlib.sha256(key.encode()).hexdigest() if key else ""


class Gate:
    """Lets requests for `PATHS` through; all but `HEALTH` need the key, where there is one."""

    def __init__(self, app: Asgi, *, key_sha256: str) -> None:
        self._app = app
        self._key_sha256 = key_sha256

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", "")).rstrip("/")
            if path not in PATHS:
                await _refuse(send, 404, f"no such path; served are {', '.join(PATHS)}")
                return
            if self._key_sha256 and path != HEALTH and not self._is_known(scope):
                await _refuse(send, 401, "the bearer key is missing or wrong")
                return
        await self._app(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        values = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        if len(values) != 1:
            return False
        scheme, _, key = values[0].partition(b" ")
        known = hmac.compare_digest(hashlib.sha256(key.strip()).hexdigest(), self._key_sha256)
        return known and scheme.lower() == b"bearer"


async def _refuse(send: Send, status: int, message: str) -> None:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": status}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
