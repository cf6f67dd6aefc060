import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from metamath_ray.start_ray import (
    ClusterError,
    _check_address,
    _why_not,
    check_output,
    start_ray,
)

ROOT = Path(__file__).resolve().parents[2]
FIRST_WORKER_DIES = """
import os
from metamath_ray.start_ray import prepare_ray_data, start_ray

class Fickle:
    def __init__(self):
        try:
            open(os.environ["MARK"], "x")
        except FileExistsError:
            return
        raise RuntimeError("the first worker dies as it starts")

    def __call__(self, batch):
        return batch

start_ray(shows_worker_output=False)
import ray
if os.environ["PREPARED"] == "yes":
    prepare_ray_data()
print("sum", ray.data.range(8).map_batches(Fickle, compute=ray.data.ActorPoolStrategy(size=1)).sum("id"))
"""


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:8265", "is a dashboard's, for `ray job submit`"),
        ("head", "must be HOST:PORT, auto or local, got 'head'"),
        ("127.0.0.1:9", "no Ray cluster answers at RAY_ADDRESS 127.0.0.1:9: "),
        ("127.0.0.1:99999", "no Ray cluster answers"),
        ("no-such-host.invalid:6379", "no Ray cluster answers"),
    ],
)
def test_an_address_without_a_cluster_is_refused_at_once(address: str, message: str) -> None:
    with pytest.raises(ClusterError, match="RAY_ADDRESS") as error:
        _check_address(address)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", ["{}", "ray://{}"])
def test_an_address_that_listens_is_taken(form: str) -> None:
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        _check_address(form.format(f"127.0.0.1:{head.getsockname()[1]}"))


def test_a_cluster_that_happens_to_run_here_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    addresses = []
    monkeypatch.setattr(ray, "init", lambda address, **_: addresses.append(address))
    for name in ("RAY_AUTH_MODE", "RAY_worker_niceness", "RAY_COLOR_PREFIX"):
        monkeypatch.setenv(name, "0")  # what it sets is taken back
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    start_ray()
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    start_ray()
    assert addresses == ["local", None]


def test_other_versions_are_named_on_both_sides() -> None:
    ray_says = RuntimeError(
        "Version mismatch: The cluster was started with:\n    Ray: 2.53.1\n    Python: 3.12.1\n"
        "This process on node 10.0.0.1 was started with:\n    Ray: 2.60.0\n    Python: 3.11.2\n"
    )
    assert _why_not("head:6379", ray_says) == (
        "the Ray cluster at head:6379 runs Ray 2.53.1 on Python 3.12.1, this is Ray 2.60.0 on Python 3.11.2; "
        "both must be the same on all machines"
    )


@pytest.mark.parametrize("handler", [signal.SIG_DFL, lambda number, frame: None], ids=["default", "own"])
def test_a_jobs_handler_of_sigterm_outlives_the_start_of_ray(
    monkeypatch: pytest.MonkeyPatch, handler: Any
) -> None:
    def rays(number: int, frame: Any) -> None: ...

    for name in ("RAY_AUTH_MODE", "RAY_worker_niceness", "RAY_COLOR_PREFIX"):
        monkeypatch.setenv(name, os.environ.get(name, "0"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", lambda *_, **__: signal.signal(signal.SIGTERM, rays))
    before = signal.signal(signal.SIGTERM, handler)
    try:
        start_ray()
        assert signal.getsignal(signal.SIGTERM) == (handler if handler is not signal.SIG_DFL else rays)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_relative_output_of_a_submitted_job_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_output(Path("runs/x"), option="--output")
    folder = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    check_output(tmp_path / "run", option="--output")
    with pytest.raises(ValueError, match="--output runs/x is relative"):
        check_output(Path("runs/x"), option="--output")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepared", "expected"), [("yes", True), ("no", False)], ids=["prepared", "control"]
)
def test_a_worker_that_dies_as_it_starts_is_replaced(prepared: str, expected: bool, tmp_path: Path) -> None:
    """As Ray lets one now and then on a busy machine: a build ended of it."""
    environment = os.environ | {"MARK": str(tmp_path / "mark"), "PREPARED": prepared}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_WORKER_DIES],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ("sum 28" in done.stdout) == expected, done.stderr
    assert (tmp_path / "mark").exists()
