"""The teacher double's batch interface: files, batches of their lines, and all that may go wrong with them."""

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from double_faults import STATUS, error, error_body

if TYPE_CHECKING:
    from teacher_double import TeacherDouble


@dataclass(frozen=True)
class BatchOptions:
    """How the batch interface behaves.

    A batch goes as the next word of `script` says, all others as `always` does: `completed`, `failed:CODE` (refused
    at its validation), or `expired:SHARE`, `cancelled:SHARE`, `short:SHARE` with so much of its lines done (`short`
    is completed, and says nothing of the others). At the place named by `hold` the server does its part and never
    answers: `upload`, `create`, `look`, `download` (after half of the file).
    """

    script: list[str] = field(default_factory=list)
    always: str = "completed"
    hold: str = ""
    faults: list[str] = field(default_factory=list)  # HTTP faults that the next calls of the interface meet
    seconds: float = 0.0  # from creation to end
    max_requests: int = 50_000
    max_bytes: int = 200_000_000
    queue_tokens: int = 1 << 40  # of batches that have not ended, at four bytes a token


@dataclass
class BatchStats:
    """What was asked of the batch interface since the server started."""

    calls: int = 0
    files: int = 0
    batches: int = 0
    requests: int = 0  # lines that were answered with a completion
    ids: list[str] = field(default_factory=list)  # custom_ids of the lines that were done, well or not
    downloads: int = 0
    most_requests: int = 0  # of a file
    most_bytes: int = 0
    held: str = ""


@dataclass
class _Batch:
    record: dict[str, Any]
    content: bytes


class BatchRoutes:
    """The routes of the protocol; replies are made by the double that they belong to."""

    def __init__(self, double: "TeacherDouble") -> None:
        self._double = double
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, _Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._num_scripted = 0
        self._num_faults = 0

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/files/{id}/content", self._content)
        app.router.add_post("/v1/batches", self._create)
        app.router.add_get("/v1/batches", self._list)
        app.router.add_get("/v1/batches/{id}", self._look)

    @property
    def _options(self) -> BatchOptions:
        return self._double.options.batch

    @property
    def _stats(self) -> BatchStats:
        return self._double.stats.batch

    def _refuse(self, request: web.Request) -> web.Response | None:
        self._stats.calls += 1
        if (refused := self._double.refuse_key(request)) is not None:
            return refused
        if self._num_faults < len(self._options.faults):
            fault = self._options.faults[self._num_faults]
            self._num_faults += 1
            return error(*STATUS[fault]) if fault != "ok" else None
        return None

    async def _hold(self, place: str) -> None:
        if self._options.hold == place:
            self._stats.held = place
            await asyncio.sleep(3600)

    async def _upload(self, request: web.Request) -> web.Response:
        if (refused := self._refuse(request)) is not None:
            return refused
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField)
        assert form["purpose"] == "batch"
        content = file.file.read()
        self._stats.files += 1
        name = self._keep(content)
        await self._hold("upload")
        return web.json_response(
            {
                "id": name,
                "object": "file",
                "bytes": len(content),
                "created_at": int(time.time()),
                "filename": file.filename,
                "purpose": "batch",
                "status": "processed",
            }
        )

    def _keep(self, content: bytes) -> str:
        name = f"file-{len(self._files)}"
        self._files[name] = content
        return name

    async def _create(self, request: web.Request) -> web.Response:
        if (refused := self._refuse(request)) is not None:
            return refused
        body = await request.json()
        assert body["endpoint"] == "/v1/chat/completions"
        assert body["completion_window"] == "24h"
        content = self._files[body["input_file_id"]]
        assert hashlib.sha256(content).hexdigest() == body["metadata"]["sha256"]
        name = f"batch_{len(self._batches)}"
        lines = content.count(b"\n")
        record = {
            "id": name,
            "object": "batch",
            "endpoint": body["endpoint"],
            "completion_window": "24h",
            "created_at": int(time.time()),
            "input_file_id": body["input_file_id"],
            "metadata": body["metadata"],
            "status": "validating",
            "request_counts": {"total": lines, "completed": 0, "failed": 0},
        }
        self._batches[name] = _Batch(record, content)
        self._stats.batches += 1
        self._stats.most_requests = max(self._stats.most_requests, lines)
        self._stats.most_bytes = max(self._stats.most_bytes, len(content))
        task = asyncio.create_task(self._process(self._batches[name], self._next_end()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await self._hold("create")
        return web.json_response(record)

    def _next_end(self) -> str:
        self._num_scripted += 1
        script = self._options.script
        return script[self._num_scripted - 1] if self._num_scripted <= len(script) else self._options.always

    async def _list(self, request: web.Request) -> web.Response:
        if (refused := self._refuse(request)) is not None:
            return refused
        records = [batch.record for batch in reversed(self._batches.values())]
        names = [record["id"] for record in records]
        first = names.index(request.query["after"]) + 1 if "after" in request.query else 0
        page = records[first : first + 2]  # smaller than anybody asks for, as a page may be
        return web.json_response({"object": "list", "data": page, "has_more": first + 2 < len(records)})

    async def _look(self, request: web.Request) -> web.Response:
        if (refused := self._refuse(request)) is not None:
            return refused
        await self._hold("look")
        batch = self._batches.get(request.match_info["id"])
        if batch is None:
            return error(404, f"No batch found with id '{request.match_info['id']}'", "not_found")
        return web.json_response(batch.record)

    async def _content(self, request: web.Request) -> web.StreamResponse:
        if (refused := self._refuse(request)) is not None:
            return refused
        content = self._files[request.match_info["id"]]
        self._stats.downloads += 1
        if self._options.hold != "download":
            return web.Response(body=content)
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: len(content) // 2])
        await self._hold("download")
        return response

    async def _process(self, batch: _Batch, end: str) -> None:
        how, _, detail = end.partition(":")
        if (problem := self._problem(batch) or (detail if how == "failed" else "")) != "":
            data = [{"code": problem, "message": f"the double says {problem}", "line": None, "param": None}]
            batch.record |= {"status": "failed", "errors": {"object": "list", "data": data}}
            return
        batch.record["status"] = "in_progress"
        lines = [json.loads(line) for line in batch.content.splitlines()]
        share = float(detail or 1.0)
        to_do = lines[: round(share * len(lines))]
        good, bad = [], []
        for line in to_do:
            await asyncio.sleep(self._options.seconds / len(lines))
            result = self._result(line)
            is_good = result["response"]["status_code"] == 200
            (good if is_good else bad).append(result)
            batch.record["request_counts"]["completed" if is_good else "failed"] += 1
        if how != "short":
            bad += [_undone(line, how) for line in lines[len(to_do) :]]
        for kind, results in (("output_file_id", good[::-1]), ("error_file_id", bad)):  # in no order
            if results:
                batch.record[kind] = self._keep(b"".join(json.dumps(r).encode() + b"\n" for r in results))
        batch.record["status"] = "completed" if how == "short" else how

    def _problem(self, batch: _Batch) -> str:
        lines = batch.content.splitlines()
        if len(batch.content) > self._options.max_bytes or len(lines) > self._options.max_requests:
            return "too_large"
        names = [json.loads(line)["custom_id"] for line in lines]
        if len(set(names)) < len(names) or any(len(name) > 64 for name in names):
            return "duplicate_custom_id"
        if any(json.loads(line)["body"]["model"] not in self._double.options.models for line in lines):
            return "model_not_found"
        others = [b for b in self._batches.values() if b.record["status"] == "in_progress"]
        queued = sum(len(b.content) for b in [batch, *others]) // 4
        return "token_limit_exceeded" if queued > self._options.queue_tokens else ""

    def _result(self, line: dict[str, Any]) -> dict[str, Any]:
        assert line["method"] == "POST"
        assert line["url"] == "/v1/chat/completions"
        self._stats.ids.append(line["custom_id"])
        body, fault = line["body"], self._double.next_fault(line["body"]["messages"][-1]["content"])
        if self._double.options.reject_n and body.get("n", 1) > 1:
            fault = "400"
        if fault in STATUS:
            status, message, code = STATUS[fault]
            answer: dict[str, Any] = error_body(message, code)
        else:
            status, answer = 200, self._double.completion(body, fault)
            self._stats.requests += 1
        response = {"status_code": status, "request_id": "req", "body": answer}
        return {"id": "batch_req", "custom_id": line["custom_id"], "response": response, "error": None}


def _undone(line: dict[str, Any], how: str) -> dict[str, Any]:
    fault = {"code": f"batch_{how}", "message": "This request could not be executed"}
    return {"id": "batch_req", "custom_id": line["custom_id"], "response": None, "error": fault}
