"""What a governor that is started again must know of the one before it."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from metamath_ray.teacher._accounts import SavedEndpoint
from metamath_ray.teacher._demands import Counters

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SavedSums:
    """What a worker has reported since it started: counters, and calls, tokens and their squares by endpoint."""

    counters: Counters
    by_endpoint: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class SavedWorker:
    """What a worker that may be alive holds: calls that wait, and by endpoint those running, its slots, its lease."""

    waiting: int
    in_flight: tuple[int, ...]
    slots: tuple[int, ...]
    granted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SavedState:
    """A governor at a moment, `wall_s` by the calendar's clock: its own begins anew on another machine."""

    wall_s: float
    stop: str | None
    endpoints: tuple[SavedEndpoint, ...]
    size: tuple[float, float, float]
    billed_before: tuple[int, int]  # prompt and completion tokens, in the runs before this one
    sums: dict[str, SavedSums]
    workers: dict[str, SavedWorker]


class Memory(Protocol):
    """Where a governor leaves its state for the next one."""

    def load(self) -> SavedState | None:
        """The newest state; None where there is none, or none that can be read."""
        ...

    def save(self, state: SavedState) -> None:
        """Replace it."""
        ...


_STATE = TypeAdapter(SavedState)


@dataclass(frozen=True)
class FileMemory:
    """A file that survives the governor; not an fsync each time: it need not survive the machine."""

    path: Path

    def load(self) -> SavedState | None:
        """See `Memory.load`."""
        if not self.path.is_file():
            return None
        try:
            return _STATE.validate_json(self.path.read_bytes())
        except ValidationError:
            logger.warning("%s is no governor's memory of this version; it is not used", self.path)
            return None

    def save(self, state: SavedState) -> None:
        """Replace the file at once: a reader sees the old or the new state. Raises OSError."""
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        partial.write_bytes(_STATE.dump_json(state))
        partial.replace(self.path)
