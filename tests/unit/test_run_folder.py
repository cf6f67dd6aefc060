import fcntl
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict

from metamath_ray import __version__
from metamath_ray.run_folder import BadRunFolderError, open_run_folder


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    seed: int = 0
    model: str = ""
    note: str = ""


def identity(config: dict[str, Any]) -> dict[str, Any]:
    return Options.model_validate(config).model_dump(exclude={"note"})


def open_with(folder: Path, **options: Any) -> dict[str, Any]:
    config = Options(**options).model_dump()
    with open_run_folder(folder, config, identity=identity, option="--output") as opened:
        return yaml.safe_load((opened / "config.yaml").read_text())


def test_the_configuration_says_which_version_wrote_it_last(tmp_path: Path) -> None:
    assert open_with(tmp_path / "run", seed=3)["metamath_ray_version"] == __version__
    path = tmp_path / "run" / "config.yaml"
    path.write_text(path.read_text().replace(__version__, "0.0.1"))
    assert open_with(tmp_path / "run", seed=3, note="new")["metamath_ray_version"] == __version__


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seed: 4\nmodel: m\nnote: ''\n", r"made with other options \(model, seed; model was 'm', is ''\)"),
        (
            "seed: 0\nmodel: ''\ncolour: red\nmetamath_ray_version: 0.0.1\n",
            r"made by metamath_ray 0\.0\.1 .*\(colour\)",
        ),
        ("benchmarks: [a]\nreplicas: 1\nseed: 0\n", "holds a run of another job"),
        ("- a list\n", "can't be read: it holds no mapping"),
        ("a: [", "can't be read"),
    ],
    ids=["other-options", "other-version", "other-job", "list", "no-yaml"],
)
def test_a_folder_of_another_run_is_refused_and_left_as_it_is(
    content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(BadRunFolderError, match=message) as error:
        open_with(tmp_path)
    assert "\n" not in str(error.value)
    assert (tmp_path / "config.yaml").read_text() == content


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(
            BadRunFolderError, match="in use by another run; wait for its end, or name another --output"
        ):
            open_with(tmp_path)
