"""The wheel: what `pip install metamath-ray` gives."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import metamath_ray

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from a copy: setuptools writes into the folder that it builds from."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "metamath_ray", source / "metamath_ray", ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(out),
    ]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    files = [
        path
        for path in (ROOT / "metamath_ray").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    wanted = {path.relative_to(ROOT).as_posix() for path in files}
    assert wanted - set(wheel.namelist()) == set()
    assert "metamath_ray/py.typed" in wheel.namelist()


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0] for name in wheel.namelist()} == {
        "metamath_ray",
        f"metamath_ray-{metamath_ray.__version__}.dist-info",
    }


def test_the_extras_are_named_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read(f"metamath_ray-{metamath_ray.__version__}.dist-info/METADATA").decode()
    for extra in ("cpu", "gpu", "hub", "dev"):
        assert f"Provides-Extra: {extra}" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert "License-Expression: Apache-2.0" in metadata
