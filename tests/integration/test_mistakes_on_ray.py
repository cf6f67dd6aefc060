"""Mistakes that only show once Ray runs: a cluster of another version, a full disk, a wrong path, no GPU for an engine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mistakes import BUILD, EVALUATE, ROOT, check, run
from ray_head import ray_head

pytestmark = pytest.mark.slow

OLD_VERSION = "2.53.1"


def test_a_cluster_of_another_version_is_one_line(tmp_path: Path, ray_folder: Path) -> None:
    with ray_head(ray_folder, says_version=OLD_VERSION) as address:
        done = run(
            BUILD,
            ["--limit-seeds", "1", "--run-dir", str(tmp_path / "run")],
            cwd=tmp_path,
            RAY_ADDRESS=address,
        )
    check(
        done, code=2, says=(f"the Ray cluster at {address} runs Ray {OLD_VERSION}", "both must be the same")
    )


def test_a_base_url_without_its_path_is_one_line(
    tmp_path: Path, ray_folder: Path, teacher_double: Callable[..., Any]
) -> None:
    url = teacher_double().base_url.removesuffix("/v1")
    args = ["--limit-seeds", "1", "--run-dir", str(tmp_path / "run"), "--teacher.base-url", url]
    args += ["--teacher.model", "double-1"]  # of which no reply is bundled
    done = run(BUILD, args, cwd=tmp_path, RAY_TMPDIR=str(ray_folder))
    check(done, code=3, says=("the teacher knows no such model or path (404)",))


def test_an_engine_without_its_gpu_is_one_line(tmp_path: Path, ray_folder: Path, tiny_model: Path) -> None:
    args = ["--model", str(tiny_model), "--engine.device", "gpu", "--output", str(tmp_path / "run")]
    done = run(EVALUATE, args, cwd=tmp_path, RAY_TMPDIR=str(ray_folder))
    check(done, code=2, says=("GPU",))


def can_mount() -> bool:
    test = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(test, capture_output=True).returncode == 0


def test_a_full_disk_is_one_line_and_what_was_paid_for_stays(
    tmp_path: Path, ray_folder: Path, teacher_double: Callable[..., Any]
) -> None:
    if not can_mount():
        pytest.skip("no small disk can be mounted here")
    disk = tmp_path / "disk"
    disk.mkdir()
    job = [sys.executable, str(ROOT / "jobs" / BUILD), "--limit-seeds", "40", "--run-dir", str(disk / "run")]
    job += ["--teacher.base-url", teacher_double().base_url, "--teacher.model", "double-1"]
    mount = f'mount -t tmpfs -o size=64k tmpfs {disk} && exec "$@"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", *job],
        capture_output=True, text=True, timeout=240, cwd=tmp_path, env=os.environ | {"RAY_TMPDIR": str(ray_folder)},
    )  # fmt: skip
    check(done, code=1, says=("No space left on device", "what was paid for is in the ledger"))
