"""Which of Ray's processes give way to an engine: real processes under the names that Ray gives its own."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest

from metamath_ray.evaluation._background import yield_to_engines

SLEEP = "sleep 300"
WORKERS = ("ray::ServeController", "ray::ServeReplica:evaluation:engine", "ray::Owner")
RAYLET = " & ".join(f"(exec -a {name} {SLEEP})" for name in WORKERS) + " & wait"
OTHERS = ("/ray/raylet/raylet", "grader")
NICE = {"ray::ServeController", "ray::Owner", "/site-packages/ray/gcs_server"}


def named_children() -> dict[str, psutil.Process]:
    return {
        child.cmdline()[0]: child for child in psutil.Process().children(recursive=True) if child.cmdline()
    }


@pytest.fixture
def ray() -> Iterator[dict[str, psutil.Process]]:
    """A process each of what a local Ray has, by its name."""
    started = [
        subprocess.Popen(
            ["/ray/raylet/raylet", "-c", RAYLET], executable="/bin/bash", start_new_session=True
        ),
        subprocess.Popen(["/site-packages/ray/gcs_server", "300"], executable="/bin/sleep"),
        subprocess.Popen(["grader", "300"], executable="/bin/sleep"),
    ]
    try:
        while not {*NICE, *WORKERS, *OTHERS} <= named_children().keys():
            time.sleep(0.01)  # for processes to be what they are called; the test's time limit ends it
        yield named_children()
    finally:
        os.killpg(started[0].pid, signal.SIGKILL)
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="names of processes are read as Linux gives them")
def test_what_is_neither_raylet_nor_replica_nor_the_jobs_own_gives_way(
    ray: dict[str, psutil.Process],
) -> None:
    own = psutil.Process().nice()
    if own >= 10:
        pytest.skip("the tests run at a low priority themselves")
    yield_to_engines()
    yield_to_engines()
    given = {name for name in {*NICE, *WORKERS, *OTHERS} if ray[name].nice() > own}
    assert given == NICE
    assert psutil.Process().nice() == own
