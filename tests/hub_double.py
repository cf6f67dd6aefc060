"""A stand-in for the Hugging Face hub over real HTTP: makes repositories, takes large files and commits."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

_LARGE = (".parquet", ".safetensors")
_COMMIT = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/commit/main")
_PREUPLOAD = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/preupload/main")


@dataclass
class Hub:
    """What the double holds: by `models/OWNER/NAME` or `datasets/OWNER/NAME` the files of the newest commit."""

    token: str
    url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0
    cards: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON for a request whose token is right."""
        if method == "PUT" and path.startswith("/large/"):
            self.large[hashlib.sha256(body).hexdigest()] = body
            return 200, {}
        document = _json(body)
        if path == "/api/repos/create":
            return self._create(document)
        if path == "/api/validate-yaml":
            return self._validate(document["content"])
        if match := _PREUPLOAD.fullmatch(path):
            return 200, {"files": [self._mode(file["path"]) for file in document["files"]]}
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": [self._action(each) for each in document["objects"]]}
        if path == "/verify":
            return (200 if document["oid"] in self.large else 404), {}
        if match := _COMMIT.fullmatch(path):
            return self._commit(f"{match[1]}/{match[2]}", body)
        return 404, {"error": f"the double has no {method} {path}"}

    def _create(self, document: dict[str, Any]) -> tuple[int, Any]:
        kind = f"{document.get('type', 'model')}s"
        name = f"{document['organization']}/{document['name']}"
        url = f"{self.url}/{'datasets/' * (kind == 'datasets')}{name}"
        if f"{kind}/{name}" in self.repos:
            return 409, {"error": "You already created this repo", "url": url}
        self.repos[f"{kind}/{name}"] = {}
        self.private[f"{kind}/{name}"] = document.get("visibility") == "private" or bool(
            document.get("private")
        )
        return 200, {"url": url}

    def _validate(self, content: str) -> tuple[int, Any]:
        header = yaml.safe_load(content.split("---\n")[1])
        self.cards.append(header)
        return 200, {"errors": [], "warnings": []}

    def _mode(self, path: str) -> dict[str, Any]:
        mode = "lfs" if path.endswith(_LARGE) else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def _action(self, wanted: dict[str, Any]) -> dict[str, Any]:
        actions = {
            "upload": {"href": f"{self.url}/large/{wanted['oid']}"},
            "verify": {"href": f"{self.url}/verify"},
        }
        return wanted | {"authenticated": True, "actions": actions}

    def _commit(self, repo: str, body: bytes) -> tuple[int, Any]:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.repos[repo][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.repos[repo][value["path"]] = self.large[value["oid"]]
        self.commits += 1
        oid = f"{self.commits:040d}"
        return 200, {"commitUrl": f"{self.url}/{repo}/commit/{oid}", "commitOid": oid, "hookOutput": ""}


def _json(body: bytes) -> Any:
    try:
        return json.loads(body or b"{}")
    except ValueError:  # a commit is lines of JSON
        return {}


@contextmanager
def serve_hub(token: str) -> Iterator[Hub]:
    """A hub on loopback that takes this token alone."""
    hub = Hub(token)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self._read_body()
            path = self.path.partition("?")[0]
            is_upload = path.startswith("/large/")  # its address is its permission
            if not is_upload and self.headers.get("Authorization") != f"Bearer {hub.token}":
                status, answer = 401, {"error": "Invalid username or password."}
            else:
                status, answer = hub.answer(self.command, path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_HEAD = handle_any  # noqa: N815  # http.server's names

        def _read_body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
