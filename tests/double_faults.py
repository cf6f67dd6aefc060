"""How the teacher double fails: HTTP errors, resets, bodies that are cut or no JSON."""

import asyncio

from aiohttp import web

FAULTS = (
    "ok",
    "429",
    "500",
    "503",
    "400",
    "401",
    "403",
    "404",
    "insufficient_quota",
    "context_too_long",
    "reset",
    "hang",
    "truncated_json",
    "cut_body",
    "not_json",
    "no_choices",
    "null_content",
    "empty",
    "length",
    "content_filter",
    "fewer",
)
"""What can be scripted, each with `:SECONDS` behind it for a Retry-After header."""

STATUS = {
    "429": (429, "Rate limit reached", "rate_limit_exceeded"),
    "500": (500, "The server had an error", "server_error"),
    "503": (503, "The engine is overloaded", "overloaded"),
    "400": (400, "This request can't be answered", "invalid_request_error"),
    "401": (401, "Incorrect API key provided", "invalid_api_key"),
    "403": (403, "Country not supported", "unsupported_country"),
    "404": (404, "The model does not exist", "model_not_found"),
    "insufficient_quota": (429, "You exceeded your current quota", "insufficient_quota"),
    "context_too_long": (400, "This model's maximum context length is 16 tokens", "context_length_exceeded"),
}


async def misbehave(request: web.Request, fault: str, after_s: str) -> web.StreamResponse | None:
    """The response of a fault that has no completion in it; None for the others."""
    if fault not in FAULTS:
        return error(500, f"the double knows no fault {fault!r}", "double")
    if fault in STATUS:
        response = error(*STATUS[fault])
        if after_s:
            response.headers["Retry-After"] = after_s
        return response
    if fault == "reset":
        assert request.transport is not None
        request.transport.abort()
        return web.Response(status=500)
    if fault == "hang":
        await asyncio.sleep(3600)
    if fault == "not_json":
        return web.Response(body=b"<html>gateway</html>", content_type="text/html")
    return None


async def send(request: web.Request, body: bytes, fault: str) -> web.StreamResponse:
    if fault == "truncated_json":  # whole by HTTP, half by content
        return web.Response(body=body[: len(body) // 2], content_type="application/json")
    if fault == "cut_body":  # half by HTTP
        response = web.StreamResponse(
            headers={"Content-Length": str(len(body)), "Content-Type": "application/json"}
        )
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        assert request.transport is not None
        request.transport.close()
        return response
    return web.Response(body=body, content_type="application/json")


def error(status: int, message: str, code: str) -> web.Response:
    return web.json_response(error_body(message, code), status=status)


def error_body(message: str, code: str) -> dict[str, dict[str, str]]:
    return {"error": {"message": message, "type": code, "code": code}}
