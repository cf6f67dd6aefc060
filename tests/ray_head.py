"""A Ray head of a test's own, for jobs that are told of it by RAY_ADDRESS."""

import os
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mistakes import MARK, wait_for_the_last

CODE = "import ray; ray.__version__ = {version}; from ray.scripts.scripts import main; main()"


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder for a Ray's session, its own: another's would be searched for nothing. Sockets want its path short."""
    with tempfile.TemporaryDirectory(prefix="mm-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def ray_head(folder: Path, *, num_cpus: int = 1, says_version: str | None = None) -> Iterator[str]:
    """Runs while the block does, with its session in `folder`; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = CODE.format(version=repr(says_version) if says_version else "ray.__version__")
    options = ["--head", "--block", f"--port={port}", f"--num-cpus={num_cpus}", "--include-dashboard=false"]
    options += ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000"]
    env = {
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        MARK: uuid.uuid4().hex,
    }
    head = subprocess.Popen(
        [sys.executable, "-c", code, "start", *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | env, cwd=folder,
    )  # fmt: skip
    try:
        _wait_for_start(head)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(
                "RAY_AUTH_MODE", env["RAY_AUTH_MODE"]
            )  # a Ray in this process may have set it to token
            yield f"127.0.0.1:{port}"
    finally:
        head.kill()  # its parts end with it; asked to end, they take half a minute
        head.communicate()
        wait_for_the_last(env[MARK])


def _wait_for_start(head: subprocess.Popen[str]) -> None:
    assert head.stdout is not None
    printed = ""
    for line in head.stdout:
        printed += line
        if "Ray runtime started" in line:
            return
    raise AssertionError(f"the head did not start: {printed}")
