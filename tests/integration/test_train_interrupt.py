"""Ctrl-C and SIGTERM of a training, and checkpoints in storage of other kinds than a folder."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyarrow import fs
from train_job import arguments, finish, save_rows, start, training_workers, wait_for_step

from metamath_ray.step_metrics import load_metrics
from metamath_ray.training._storage import run_id

INTERRUPTED = "error: interrupted; run the same command again to go on from the newest checkpoint"
KEPT = 3

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture
def make_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """The URI of a place of that scheme; for s3 a server starts, where moto is installed."""
    servers: list[subprocess.Popen[bytes]] = []

    def make(scheme: str) -> str:
        if scheme == "file":
            return (tmp_path / "storage").as_uri()
        program = shutil.which("moto_server", path=Path(sys.executable).parent) or shutil.which("moto_server")
        if program is None:
            pytest.skip("moto_server is not installed: pip install 'moto[server]'")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        servers.append(subprocess.Popen([program, "-p", str(port)], stderr=subprocess.DEVNULL))
        make_bucket(f"http://127.0.0.1:{port}/bucket")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
        return f"s3://bucket/runs?region=us-east-1&scheme=http&endpoint_override=127.0.0.1:{port}"

    yield make
    for server in servers:
        server.kill()
        server.wait()


def make_bucket(url: str) -> None:
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=30):
                return
        except urllib.error.URLError:
            time.sleep(0.1)  # for the server to listen; the test's time limit ends the wait


def said_in(err: str) -> list[str]:
    """The lines but for what a slow machine adds: that a worker takes more than five seconds to end."""
    return [line for line in err.splitlines() if not line.startswith("WARNING: waiting for worker")]


def kept_steps(storage: str, output: Path) -> list[int]:
    """The steps of the checkpoints that lie in the storage."""
    filesystem, root = fs.FileSystem.from_uri(storage)
    found = filesystem.get_file_info(fs.FileSelector(f"{root}/{run_id(output)}", recursive=True))
    cursors = [filesystem.open_input_stream(info.path) for info in found if info.base_name == "cursor.json"]
    return sorted(json.loads(cursor.read())["step"] for cursor in cursors)


def leave_half_a_checkpoint(storage: str, output: Path) -> None:
    filesystem, root = fs.FileSystem.from_uri(storage)
    folder = f"{root}/{run_id(output)}/checkpoint_half-written"
    filesystem.create_dir(folder)
    with filesystem.open_output_stream(f"{folder}/cursor.json") as file:
        file.write(b'{"step": 999}')


@pytest.mark.parametrize(
    ("number", "scheme"), [(signal.SIGINT, "file"), (signal.SIGTERM, "s3")], ids=["ctrl-c-file", "sigterm-s3"]
)
def test_an_interrupted_run_ends_soon_and_goes_on_from_its_storage(
    number: signal.Signals,
    scheme: str,
    make_storage: Callable[[str], str],
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    storage, output = make_storage(scheme), tmp_path / "run"
    changes = {
        "checkpoint.storage": storage,
        "checkpoint.keep": KEPT,
        "checkpoint.every-steps": 1,  # most of the time is then between a step and its checkpoint's commit
        "max-steps": 12,
    }
    words = [word for name, value in changes.items() for word in (f"--{name}", str(value))]
    command = arguments(tiny_model, save_rows(tmp_path / "rows.jsonl"), output, *words)
    job = start(command, tmp_path)
    wait_for_step(output, 5, job)
    if number == signal.SIGINT:
        os.killpg(job.pid, number)  # as a terminal does
    else:
        job.send_signal(number)
    out, err = job.communicate(timeout=60)
    assert job.returncode == 130, out[-2000:] + err[-3000:]
    assert said_in(err) == [INTERRUPTED]
    assert training_workers(output) == []
    seen = len(load_metrics(output / "metrics.jsonl"))

    leave_half_a_checkpoint(storage, output)
    finish(command, tmp_path)
    steps = load_metrics(output / "metrics.jsonl")
    assert [step.step for step in steps] == list(range(1, 13))
    assert [step.attempt for step in steps].count(0) >= seen - 1, "it went on from an older checkpoint"
    assert {step.attempt for step in steps} == {0, 1}
    assert kept_steps(storage, output) == [10, 11, 12]
    assert (output / "model" / "model.safetensors").is_file()
    assert not list((output / "checkpoints").glob("*")), "checkpoints went to the output folder too"


def test_an_interrupt_before_the_first_step_ends_as_soon(tiny_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    job = start(arguments(tiny_model, save_rows(tmp_path / "rows.jsonl"), output), tmp_path)
    while not (output / "data" / "manifest.json").is_file():
        assert job.poll() is None, job.communicate()
        time.sleep(0.02)  # for the rows to be packed: then Ray Train starts its workers
    job.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=60)
    assert job.returncode == 130, out[-2000:] + err[-3000:]
    assert said_in(err) == [INTERRUPTED]
    assert training_workers(output) == []
