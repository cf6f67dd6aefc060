"""What `--help` shows, narrow and wide; no word of it is lost by a line's end."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from metamath_ray import __version__
from metamath_ray._help import fill_description, metavar_of
from metamath_ray.options import parse_options

JOBS = sorted((Path(__file__).resolve().parents[2] / "jobs").glob("[a-z]*.py"))


class Inner(BaseModel):
    """How the thing below works.

    More that help need not show.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    rate: float = Field(300.0, description="calls at 100 % load")


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    folder: Path = Field(Path("runs/x"), description="where it goes")
    inner: Inner = Inner()
    kind: Literal["one", "two"] = Field("one", description="which of the two")
    limits: dict[str, int] = Field({}, description="a limit for each name")
    packed: bool = Field(True, description="several in one")
    number: int | None = Field(None, description="how many")


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as end:
        parse_options(
            Options,
            ["--help"],
            prog="job.py",
            description="Does it.\n\n    python job.py --folder a/long/path/to/a/folder --kind two --number 3 \\\n"
            "        --inner.rate 7\n\nExit codes: 0 done.\n",
        )
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_help_fits_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(monkeypatch, capsys, columns)
    assert max(map(len, text.splitlines())) <= columns
    words = " ".join(text.split())
    assert "--folder PATH where it goes (default: runs/x)" in words
    assert "--kind one|two which of the two (default: one)" in words
    assert "--limits.NAME N a limit for each name" in words
    assert "--packed, --no-packed several in one (default: yes)" in words
    assert "--number N how many" in words
    assert "inner: How the thing below works. --inner.rate X calls at 100 % load (default: 300)" in words
    assert words.index("--number") < words.index("--inner.rate"), "groups come after the job's own options"


def test_a_long_example_breaks_as_a_shell_takes_it() -> None:
    text = fill_description("    python job.py --one 1 --two 2 --three 3", 30)
    assert text == "  python job.py --one 1 \\\n      --two 2 --three 3"
    assert re.sub(r"\\\n", "", text).split() == [
        "python",
        "job.py",
        "--one",
        "1",
        "--two",
        "2",
        "--three",
        "3",
    ]


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (int | None, "N"),
        (tuple[Path, ...], "PATH"),
        (dict[str, dict[str, int]] | Literal["paper"] | None, "paper"),
        (bool | None, "yes|no"),
        (Literal["a" * 20, "b" * 20, "c" * 20], "NAME"),
        (str, "TEXT"),
    ],
    ids=["optional", "list", "mapping-or-word", "three-states", "long-choices", "text"],
)
def test_a_value_is_named_by_its_type(annotation: object, name: str) -> None:
    assert metavar_of(annotation) == name


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse_options(Options, ["--version"], prog="job.py", description="")
    assert (end.value.code, capsys.readouterr().out) == (0, f"metamath_ray {__version__}\n")


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS, ids=[job.stem for job in JOBS])
def test_every_jobs_help_fits_80_columns_and_explains_every_option(job: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(job), "--help"], capture_output=True, text=True, env={"COLUMNS": "80"}
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 80
    for option, explained in re.findall(
        r"^  (--\S+)[^\n]*((?:\n {10,}\S[^\n]*)*)", done.stdout, re.MULTILINE
    ):
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"  {option}"))
        assert explained.strip() or len(line.split()) > 2, f"{option} is not explained"
