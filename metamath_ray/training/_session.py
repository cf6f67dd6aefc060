"""What the loop needs of whatever runs it: who am I, where is the last checkpoint, keep this one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Session(Protocol):
    """One worker's view of the run."""

    rank: int
    local_rank: int
    num_workers: int

    def newest_checkpoint(self) -> Any:
        """A context manager: the newest committed checkpoint as a local folder, or None."""

    def keep(self, folder: Path, metrics: dict[str, Any]) -> None:
        """Make this worker's part of a checkpoint durable. All workers call it; it returns when it is committed."""


class RaySession:
    """Ray Train's worker."""

    def __init__(self) -> None:
        from ray import train

        context = train.get_context()
        self.rank: int = context.get_world_rank()
        self.local_rank: int = context.get_local_rank()
        self.num_workers: int = context.get_world_size()

    @contextmanager
    def newest_checkpoint(self) -> Iterator[Path | None]:
        """The checkpoint that Ray Train goes on from."""
        from ray import train

        checkpoint = train.get_checkpoint()
        if checkpoint is None:
            yield None
            return
        with checkpoint.as_directory() as folder:
            yield Path(folder)

    def keep(self, folder: Path, metrics: dict[str, Any]) -> None:
        """Report, and wait until Ray Train's controller has committed it.

        Without the wait a death within about two seconds falls back by one checkpoint more.
        """
        from ray import train

        train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder))
        train.get_all_reported_checkpoints(consistency_mode=train.CheckpointConsistencyMode.COMMITTED)


@dataclass
class LocalSession:
    """Processes without Ray (tests, `torchrun`) that share `folder`; one checkpoint is kept."""

    folder: Path
    rank: int = 0
    num_workers: int = 1

    @property
    def local_rank(self) -> int:
        """All processes are on this machine."""
        return self.rank

    @contextmanager
    def newest_checkpoint(self) -> Iterator[Path | None]:
        """What `keep` kept last; a kill between its renames leaves the one before."""
        places = (self.folder / "newest", self.folder / "previous")
        yield next((place for place in places if place.is_dir()), None)

    def keep(self, folder: Path, metrics: dict[str, Any]) -> None:
        """Merge the workers' parts, then put them in the place of the last checkpoint."""
        from torch import distributed

        partial = self.folder / "partial"
        shutil.copytree(folder, partial, dirs_exist_ok=True)
        distributed.barrier()
        if self.rank == 0:
            newest, previous = self.folder / "newest", self.folder / "previous"
            if newest.is_dir():
                shutil.rmtree(previous, ignore_errors=True)
                newest.rename(previous)
            partial.rename(newest)
            shutil.rmtree(previous, ignore_errors=True)
        distributed.barrier()
