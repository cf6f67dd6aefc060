from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from metamath_ray.options import BadOptionsError, parse_options


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    max_calls: int = Field(8, ge=1, description="calls at once")


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    names: tuple[str, ...] = Field(("a",), description="some names")
    fast: bool = Field(False, description="do it fast")
    rows: dict[str, dict[str, int]] | None = Field(None, description="rows by source and kind")
    inner: Inner = Inner()


def parse(*argv: str) -> Options:
    return parse_options(Options, argv, prog="job", description="A job.")


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text("names: [x, y]\ninner: {max_calls: 3}\nrows: {own: {one: 5}}\n")
    options = parse("--config", str(path), "--inner.max-calls", "4", "--rows.own.two", "6", "--fast")
    assert options == Options(
        names=("x", "y"), fast=True, rows={"own": {"one": 5, "two": 6}}, inner=Inner(max_calls=4)
    )


def test_a_list_takes_several_words() -> None:
    assert parse("--names", "p", "q").names == ("p", "q")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        pytest.param(["--inner.max-cals", "3"], "unknown option --inner.max-cals, did you mean --inner.max-calls?", id="typo"),
        pytest.param(["--inner.max-calls", "0"], "inner.max_calls must be greater than or equal to 1, got '0'", id="range"),
        pytest.param(["--rows.own.one"], "--rows.own.one needs a value", id="no-value"),
        pytest.param(["--config", "/nowhere.yaml"], "--config /nowhere.yaml: No such file or directory", id="no-file"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_clear_line(argv: list[str], message: str) -> None:
    with pytest.raises(BadOptionsError) as error:
        parse(*argv)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a list", "must hold a mapping of options, got list"),
        ("inner: [", "is no YAML"),
        ("unheard: 3", "unknown option unheard; --help lists them all"),
        ("inner: {max_cals: 3}", "unknown option inner.max_cals, did you mean inner.max_calls?"),
    ],
    ids=["list", "no-yaml", "unknown", "typo"],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "options.yaml"
    path.write_text(text)
    with pytest.raises(BadOptionsError) as error:
        parse("--config", str(path))
    assert "\n" not in str(error.value)
    assert f"--config {path}" in str(error.value)
    assert message in str(error.value)


def test_what_a_run_adds_to_its_own_configuration_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("metamath_ray_version: 0.0.1\nseeds_sha256: abc\ninner: {max_calls: 3}\n")
    assert parse("--config", str(path)).inner.max_calls == 3


def test_help_explains_each_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse("--help")
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "calls at once (default: 8)" in shown


def kind_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """As a recipe does: `names` choose what stands for the rest."""
    if given.get("names") == ["nothing"]:
        raise ValueError("there is no such kind; there are a, b")
    return {"fast": True, "inner": {"max_calls": 5, "max_seconds": 9}, "rows": {"own": {"one": 1, "two": 2}}}


class Deep(Options):
    class Both(Inner):
        max_seconds: int = Field(1, ge=1, description="seconds at once")

    inner: Both = Both()


def parse_with_defaults(*argv: str) -> Deep:
    return parse_options(Deep, argv, prog="job", description="A job.", defaults=kind_defaults)


def test_computed_defaults_stand_where_nothing_is_said() -> None:
    options = parse_with_defaults()
    assert options.fast
    assert (options.inner.max_calls, options.inner.max_seconds) == (5, 9)


def test_flags_win_over_the_file_and_the_file_over_computed_defaults_at_every_depth(tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text("inner: {max_calls: 6}\nrows: {own: {one: 7}}\n")
    options = parse_with_defaults("--config", str(path), "--no-fast", "--rows.own.two", "8")
    assert not options.fast
    assert (options.inner.max_calls, options.inner.max_seconds) == (6, 9)
    assert options.rows == {"own": {"one": 7, "two": 8}}


def test_what_computed_defaults_refuse_is_one_clear_line() -> None:
    with pytest.raises(BadOptionsError, match=r"^there is no such kind; there are a, b$"):
        parse_with_defaults("--names", "nothing")
