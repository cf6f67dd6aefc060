import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # what tests of several folders share

for name in (
    "RAY_ADDRESS",
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
):  # of who runs the tests, not of what they run
    os.environ.pop(name, None)

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # an example that is slow on a busy machine is no failure


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes is slow too: `-m "not slow"` leaves it out."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder with the published benchmark files; users have none of it."""
    folder = Path(os.environ.get("METAMATH_RAY_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "gsm8k_train.jsonl").is_file():
        pytest.skip("the published benchmark files are not here (METAMATH_RAY_DATA)")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny student."""
    from tiny_student import save_tiny_student

    return save_tiny_student(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="session")
def student_folder() -> Path:
    """The real student (SmolLM2-135M-Instruct), where METAMATH_RAY_STUDENT names its folder."""
    named = os.environ.get("METAMATH_RAY_STUDENT")
    if not named or not (Path(named) / "config.json").is_file():
        pytest.skip("no student model here (METAMATH_RAY_STUDENT)")
    return Path(named)


@dataclass(frozen=True)
class RunningDouble:
    """A teacher double in a process of its own."""

    base_url: str
    pid: int

    def stats(self) -> dict[str, Any]:
        """What was asked of it: see `teacher_double.Stats`."""
        stats: dict[str, Any] = json.loads(self._send("/stats", None))
        return stats

    def change(self, **options: Any) -> None:
        """Let it behave otherwise from now on."""
        self._send("/options", json.dumps(options).encode())

    def _send(self, path: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(self.base_url.removesuffix("/v1") + path, data=body)
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: bytes = response.read()
            return answer


@contextmanager
def teacher_doubles() -> Iterator[Callable[..., RunningDouble]]:
    """Starts doubles by `start(right_share=0.6, …)` on free ports; ends them with the block."""
    processes: list[subprocess.Popen[str]] = []

    def start(**options: Any) -> RunningDouble:
        command = [sys.executable, str(ROOT / "tests" / "teacher_double.py"), json.dumps(options)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        assert base_url, "the double did not start"
        return RunningDouble(base_url, process.pid)

    try:
        yield start
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.fixture
def teacher_double() -> Iterator[Callable[..., RunningDouble]]:
    """Starts doubles as `teacher_doubles` does; they end with the test."""
    with teacher_doubles() as start:
        yield start


@pytest.fixture(scope="module")
def module_double() -> Iterator[Callable[..., RunningDouble]]:
    """The same for fixtures of a whole module."""
    with teacher_doubles() as start:
        yield start


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """For RAY_TMPDIR."""
    from ray_head import short_folder

    with short_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster for a module's jobs that are not about starting one: five seconds less each."""
    from ray_head import ray_head, short_folder

    with short_folder() as folder, ray_head(folder, num_cpus=2) as address:
        yield address
