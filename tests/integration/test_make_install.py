"""`make install` with a stand-in for Python: what it makes anew, what it leaves alone, what it says; nothing is installed."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IN_ENVIRONMENT = """#!/bin/sh
echo "$0 $*" | sed "s|.*/||" >> calls.txt
"""
PYTHON = f"""#!/bin/sh
case "$*" in
*venv*)
    mkdir -p .venv/bin
    printf '%s' '{IN_ENVIRONMENT}' > .venv/bin/python
    cp .venv/bin/python .venv/bin/pip
    chmod +x .venv/bin/python .venv/bin/pip ;;
esac
echo "base $*" >> calls.txt
"""


@dataclass(frozen=True)
class Clone:
    """A folder with what `make install` reads, and a Python that only notes what it is asked."""

    folder: Path

    def make(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "--no-print-directory", "install", "PYTHON=./python", *args],
            cwd=self.folder, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def calls(self) -> str:
        path = self.folder / "calls.txt"
        calls = path.read_text() if path.is_file() else ""
        path.unlink(missing_ok=True)
        return calls


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    write_script(folder / "python", PYTHON)
    return Clone(folder)


def write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_a_first_install_says_what_it_does_and_how_long(clone: Clone) -> None:
    done = clone.make()
    assert done.returncode == 0, done.stderr
    assert "minutes" in done.stdout.splitlines()[0]
    calls = clone.calls()
    assert calls.count("base -m venv --clear .venv") == 1
    assert "pip install --disable-pip-version-check --no-deps -r requirements.lock" in calls


def test_the_second_time_nothing_is_done(clone: Clone) -> None:
    clone.make()
    clone.calls()
    assert clone.make().returncode == 0
    assert clone.calls() == ""


@pytest.mark.parametrize(
    ("script", "text"),
    [
        pytest.param("pip", "", id="no-pip"),
        pytest.param("pip", "#!/nowhere/.venv/bin/python\n", id="moved"),
        pytest.param("python", "#!/bin/sh\nexit 1\n", id="older-python"),
        pytest.param("python", "", id="no-python"),
    ],
)
def test_an_environment_that_does_not_work_is_made_anew(clone: Clone, script: str, text: str) -> None:
    clone.make()
    (clone.folder / ".venv" / "installed").unlink()
    clone.calls()
    path = clone.folder / ".venv" / "bin" / script
    path.unlink()
    if text:
        write_script(path, text)
    assert clone.make().returncode == 0
    assert "base -m venv --clear .venv" in clone.calls()


def test_what_a_stopped_install_brought_is_kept(clone: Clone) -> None:
    clone.make()
    (clone.folder / ".venv" / "installed").unlink()
    clone.calls()
    assert clone.make().returncode == 0
    calls = clone.calls()
    assert "venv --clear" not in calls
    assert "-r requirements.lock" in calls


def test_a_clone_that_was_moved_is_installed_again(clone: Clone, tmp_path: Path) -> None:
    clone.make()
    clone.calls()
    moved = Clone(clone.folder.rename(tmp_path / "moved"))
    assert moved.make().returncode == 0
    assert "-r requirements.lock" in moved.calls()
    assert moved.make().returncode == 0
    assert moved.calls() == ""


def test_a_failed_install_is_tried_again(clone: Clone) -> None:
    failing = PYTHON.replace('echo "$0', 'case "$*" in *lock) exit 1; esac; echo "$0')
    write_script(clone.folder / "python", failing)
    assert clone.make().returncode != 0
    assert not (clone.folder / ".venv" / "installed").exists()


def test_an_old_python_is_one_line_with_the_way_out(clone: Clone) -> None:
    write_script(
        clone.folder / "old",
        "#!/bin/sh\n"
        "exec python3 -c \"import sys; sys.version_info = (3, 9, 2); sys.version = '3.9.2 x'; $2\"\n",
    )
    done = clone.make("PYTHON=./old")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == (
        "error: Python 3.11 or newer is needed, ./old is 3.9.2; name another: make install PYTHON=python3.11"
    )
    assert not (clone.folder / ".venv").exists()
