"""A checkpoint: DeepSpeed's shards, each worker's random state, and the step to go on with."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from metamath_ray.training._device import restore_rng, rng_state
from metamath_ray.training._errors import CannotResumeError
from metamath_ray.training._session import Session

_TAG = "state"
_CURSOR = "cursor.json"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a run stands: what it has done, and of what."""

    step: int
    num_workers: int
    data_key: str
    identity: str = ""
    """Digest of the options that decide the weights; checkpoints of before it have none."""


def save_checkpoint(
    engine: Any, session: Session, cursor: Cursor, metrics: dict[str, Any], *, staging: Path
) -> None:
    """Keep the whole state after `cursor.step` steps; returns when it is committed. All workers call it.

    `staging` is this worker's own folder for what it writes until then.
    """
    folder = staging / "checkpoint"
    try:
        (folder / _TAG).mkdir(parents=True)  # DeepSpeed makes it on worker 0 alone
        engine.save_checkpoint(str(folder), tag=_TAG, save_latest=False, exclude_frozen_parameters=True)
        torch.save(rng_state(), folder / f"random-{session.rank}.pt")
        if session.rank == 0:
            (folder / _CURSOR).write_text(json.dumps(asdict(cursor)), encoding="utf-8")
        session.keep(folder, metrics)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def restore_checkpoint(engine: Any, session: Session, expected: Cursor) -> int:
    """Put engine and generators where the newest checkpoint was taken; gives its step, 0 where there is none.

    `expected` is this run's cursor; its step does not matter. Raises `CannotResumeError` where the checkpoint is of
    other data, other options or another number of workers.
    """
    with session.newest_checkpoint() as folder:
        if folder is None:
            return 0
        cursor = Cursor(**json.loads((folder / _CURSOR).read_text(encoding="utf-8")))
        _check(cursor, expected)
        # a frozen 4-bit base leaves its quantisation constants in the state; they are there already
        is_whole = all(parameter.requires_grad for parameter in engine.module.parameters())
        path, _ = engine.load_checkpoint(
            str(folder), tag=_TAG, load_module_strict=is_whole, load_lr_scheduler_states=False
        )
        if path is None:
            raise CannotResumeError(f"DeepSpeed can't read the checkpoint in {folder}")
        restore_rng(torch.load(folder / f"random-{session.rank}.pt", weights_only=True))
        return cursor.step


def _check(found: Cursor, expected: Cursor) -> None:
    if found.data_key != expected.data_key:
        raise CannotResumeError("the newest checkpoint was trained on other data; name another --output")
    if found.identity not in ("", expected.identity):
        raise CannotResumeError(
            "the newest checkpoint is of a run with other options; name another --output, or another "
            "--checkpoint.storage if that holds what isn't this run's"
        )
    if found.num_workers != expected.num_workers:
        raise CannotResumeError(
            f"the newest checkpoint was written by {found.num_workers} workers, this run has "
            f"{expected.num_workers}; go on with --num-workers {found.num_workers}, or name another --output"
        )
