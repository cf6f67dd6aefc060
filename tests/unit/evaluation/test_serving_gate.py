"""Who gets through to a served model, and to what."""

import asyncio
from typing import Any

import pytest

from metamath_ray.evaluation._gate import PATHS, Gate, hash_key

KEY = "sk-canary-51d0"


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def status_of(
    path: str, *, key: str = KEY, headers: list[tuple[bytes, bytes]] | None = None, kind: str = "http"
) -> Any:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": kind, "path": path, "root_path": "", "headers": headers or []}
    asyncio.run(Gate(_app, key_sha256=hash_key(key))(scope, receive, send))
    return sent[0].get("status", sent[0].get("code"))


def bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {key}".encode())]


@pytest.mark.parametrize("path", PATHS)
def test_the_right_key_opens_every_path(path: str) -> None:
    assert status_of(path, headers=bearer(KEY)) == 200


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="none"),
        pytest.param(bearer("other"), id="other"),
        pytest.param(bearer(""), id="empty"),
        pytest.param([(b"authorization", KEY.encode())], id="no-scheme"),
        pytest.param([(b"authorization", b"Basic " + KEY.encode())], id="other-scheme"),
        pytest.param(bearer(KEY) + bearer("other"), id="two"),
        pytest.param(bearer(hash_key(KEY)), id="the-hash-itself"),
    ],
)
@pytest.mark.parametrize("path", [path for path in PATHS if path != "/health"])
def test_without_the_key_only_health_is_told(path: str, headers: list[tuple[bytes, bytes]]) -> None:
    assert status_of(path, headers=headers) == 401
    assert status_of("/health", headers=headers) == 200


def test_without_a_key_set_all_paths_are_open() -> None:
    assert [status_of(path, key="") for path in PATHS] == [200] * len(PATHS)


@pytest.mark.parametrize(
    "path",
    [
        "/invocations",
        "/v1/load_lora_adapter",
        "/tokenize",
        "/docs",
        "/metrics",
        "/v1",
        "/",
        "/v1/../invocations",
    ],
)
def test_no_other_path_is_served_even_with_the_key(path: str) -> None:
    assert status_of(path, headers=bearer(KEY)) == 404


def test_no_websocket_is_served() -> None:
    assert status_of("/v1/completions", headers=bearer(KEY), kind="websocket") == 1008
