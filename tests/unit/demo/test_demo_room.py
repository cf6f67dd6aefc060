"""A disk that is too full is said before anything starts."""

import shutil
from pathlib import Path

import pytest

from metamath_ray.demo import DemoOptions, check_room
from metamath_ray.demo._room import NEEDED_BYTES


@pytest.fixture
def set_free(monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(Path.cwd())
    return lambda free: monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))


def test_room_is_asked_for_where_the_folder_will_be(tmp_path: Path, set_free) -> None:
    options = DemoOptions(run_dir=tmp_path / "not" / "yet")
    set_free(NEEDED_BYTES)
    check_room(options)
    set_free(NEEDED_BYTES - 1)
    with pytest.raises(ValueError, match=r"needs 5 GB in .*yet, 5.0 GB are free; make room, or .*--run-dir"):
        check_room(options)


def test_what_the_demo_left_there_counts_as_free(tmp_path: Path, set_free) -> None:
    (tmp_path / "model").write_bytes(b"12345")
    set_free(NEEDED_BYTES - 5)
    check_room(DemoOptions(run_dir=tmp_path))
