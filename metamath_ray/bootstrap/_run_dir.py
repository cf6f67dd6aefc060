"""A build's run directory: refused when it was made with options, prompts or seeds that give other rows."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple
from pathlib import Path

from metamath_ray.bootstrap._options import BuildOptions, identity_of
from metamath_ray.bootstrap._prompts import Prompts
from metamath_ray.problems import Problem
from metamath_ray.run_folder import Config, open_run_folder

_DIGESTS = ("prompts_sha256", "seeds_sha256")


def open_run_dir(
    options: BuildOptions, *, prompts: Prompts, seeds: Sequence[Problem]
) -> AbstractContextManager[Path]:
    """The run directory as `open_run_folder` gives it. Raises its `BadRunFolderError`."""
    text = "\n".join(json.dumps(astuple(seed), ensure_ascii=True) for seed in seeds)
    digests = (prompts.sha256, hashlib.sha256(text.encode()).hexdigest())
    return open_run_folder(
        options.run_dir,
        options.model_dump(mode="json") | dict(zip(_DIGESTS, digests, strict=True)),
        identity=_identity,
        option="--run-dir",
        advice=f", and --ledger {options.run_dir.resolve()}/ledger to use its replies again",
    )


def _identity(config: Config) -> Config:
    options = {"sampling": "uniform"}  # which was the only one when a run was made that names none
    options |= {name: value for name, value in config.items() if name not in _DIGESTS}
    return identity_of(BuildOptions.model_validate(options)) | {name: config.get(name) for name in _DIGESTS}
