"""A folder that a run writes and goes on with: locked while in use, refused when made with other options."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from metamath_ray import __version__

CONFIG_FILE = "config.yaml"
VERSION_KEY = "metamath_ray_version"
"""Where `config.yaml` says which version wrote it; no option, and no part of a run's identity."""

Config = dict[str, Any]

_NAMES_SHOWN = 4


class BadRunFolderError(ValueError):
    """The folder can't be used; the text says why and what to do."""


@contextmanager
def open_run_folder(
    folder: Path, config: Config, *, identity: Callable[[Config], Config], option: str, advice: str = ""
) -> Iterator[Path]:
    """The folder as an absolute path, with `config` in its `config.yaml`, locked against a second run.

    `identity` gives the part of a configuration that two runs of one folder must share. Raises
    `BadRunFolderError` (it names `option`) where the folder can't be written, is in use, holds something else, or
    was made with another identity (then it ends in `advice`); nothing in it is changed then.
    """
    folder = folder.resolve()  # workers have working directories of their own
    config = {name: value for name, value in config.items() if name != VERSION_KEY}
    try:
        _check(folder, config, identity, option, advice)
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BadRunFolderError(
            f"folder {folder} can't be written: {error.strerror}; name another {option}"
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadRunFolderError(
                f"folder {folder} is in use by another run; wait for its end, or name another {option}"
            ) from None
        written = config | {VERSION_KEY: __version__}
        write_whole(folder / CONFIG_FILE, yaml.safe_dump(written, sort_keys=False, allow_unicode=True))
        yield folder
    finally:
        os.close(lock)


def write_whole(path: Path, text: str) -> Path:
    """Write a file whole or not at all; gives its path. What UTF-8 can't hold becomes `?`."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8", errors="replace")
    return partial.replace(path)


def _check(
    folder: Path, config: Config, identity: Callable[[Config], Config], option: str, advice: str
) -> None:
    path = folder / CONFIG_FILE
    if not path.exists():
        if folder.is_dir() and any(entry.name != ".lock" for entry in folder.iterdir()):
            raise BadRunFolderError(
                f"folder {folder} holds files but no {CONFIG_FILE}; name a new or empty folder with {option}"
            )
        return
    before = load_config(path)
    version = before.pop(VERSION_KEY, None)
    if _is_of_another_kind(before, config):
        raise BadRunFolderError(f"folder {folder} holds a run of another job; name another {option}")
    try:
        old = _flat(identity(before))
    except ValidationError as error:
        raise BadRunFolderError(
            f"folder {folder} {_why_other_version(version, error)}; name another {option}{advice}"
        ) from None
    except (ValueError, TypeError) as error:
        raise BadRunFolderError(f"{path} can't be read: {' '.join(str(error).split())}") from None
    new = _flat(identity(config))
    changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if changed:
        first = changed[0]
        raise BadRunFolderError(
            f"folder {folder} was made with other options ({', '.join(changed)}; {first} was "
            f"{old.get(first)!r}, is {new.get(first)!r}); name another {option}{advice}"
        )


def load_config(path: Path) -> Config:
    """The options in a `config.yaml`. Raises `BadRunFolderError` where it holds none, and `OSError`."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadRunFolderError(f"{path} can't be read: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise BadRunFolderError(f"{path} can't be read: it holds no mapping")
    return config


def _why_other_version(version: object, error: ValidationError) -> str:
    names = list(dict.fromkeys(".".join(map(str, fault["loc"])) for fault in error.errors()))
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    maker = f"metamath_ray {version}" if version else "another version"
    return (
        f"was made by {maker} with options that this one ({__version__}) does not take "
        f"({', '.join(names[:_NAMES_SHOWN])}{more})"
    )


def _is_of_another_kind(before: Config, config: Config) -> bool:
    """Whether most of the options there are none of this job's: another version of it knows most of them."""
    known = before.keys() & config.keys()
    return len(known) < len(before) - len(known)


def _flat(values: Config, above: str = "") -> Config:
    flat: Config = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{above}{name}.")
        else:
            flat[above + name] = value
    return flat
