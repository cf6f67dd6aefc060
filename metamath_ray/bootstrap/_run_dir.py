"""A build's run directory: made once, locked while in use, refused when made with other options."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

import metamath_ray
from metamath_ray.bootstrap._options import BuildOptions, identity_of
from metamath_ray.bootstrap._prompts import Prompts
from metamath_ray.problems import Problem
from metamath_ray.run_folder import why_other_version


class BadRunDirError(ValueError):
    """The run directory can't be used; the text says why and what to do."""


@contextmanager
def open_run_dir(options: BuildOptions, *, prompts: Prompts, seeds: Sequence[Problem]) -> Iterator[Path]:
    """The run directory, made or found again, with `config.yaml` in it, locked against a second run.

    Raises `BadRunDirError` where it can't be written, is in use, holds something else, or was made with
    options, prompts or seeds that give other rows; nothing in it is changed then.
    """
    folder = options.run_dir.resolve()  # workers have working directories of their own
    config = _config(options, prompts, seeds)
    try:
        _check(folder, config)
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BadRunDirError(
            f"run directory {folder} can't be written: {error.strerror}; name another --run-dir"
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadRunDirError(
                f"run directory {folder} is in use by another run; wait for its end, or name another --run-dir"
            ) from None
        write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        yield folder
    finally:
        os.close(lock)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8", errors="surrogatepass")
    partial.replace(path)


def _config(options: BuildOptions, prompts: Prompts, seeds: Sequence[Problem]) -> dict[str, Any]:
    text = "\n".join(json.dumps(astuple(seed), ensure_ascii=True) for seed in seeds)
    return options.model_dump(mode="json") | {
        "metamath_ray_version": metamath_ray.__version__,
        "prompts_sha256": prompts.sha256,
        "seeds_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def _check(folder: Path, config: dict[str, Any]) -> None:
    path = folder / "config.yaml"
    if not path.exists():
        if folder.is_dir() and any(entry.name != ".lock" for entry in folder.iterdir()):
            raise BadRunDirError(
                f"run directory {folder} holds files but no config.yaml; name a new or empty folder with --run-dir"
            )
        return
    try:
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
        version = before.get("metamath_ray_version") if isinstance(before, dict) else None
        old = _identity(before)
    except ValidationError as error:
        raise BadRunDirError(
            f"run directory {folder} {why_other_version(version, error)}; name another --run-dir, and --ledger "
            f"{folder}/ledger to use its replies again"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise BadRunDirError(f"{path} can't be read: {' '.join(str(error).split())}") from None
    new = _identity(config)
    changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if changed:
        first = changed[0]
        raise BadRunDirError(
            f"run directory {folder} was made with other options ({', '.join(changed)}; {first} was "
            f"{old.get(first)!r}, is {new.get(first)!r}); name another --run-dir, and --ledger {folder}/ledger "
            "to use its replies again"
        )


def _identity(config: Any) -> dict[str, Any]:
    if not isinstance(config, dict):
        raise ValueError("it holds no mapping")
    extra = {name: config.pop(name, None) for name in ("prompts_sha256", "seeds_sha256")}
    version = config.pop("metamath_ray_version", None)
    nested = identity_of(BuildOptions.model_validate(config))
    config.update(extra, metamath_ray_version=version)
    flat = {name: value for name, value in nested.items() if name != "teacher"}
    return flat | {f"teacher.{name}": value for name, value in nested["teacher"].items()} | extra
