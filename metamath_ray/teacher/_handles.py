"""Where the governor lives: in the worker's own process, or behind a named Ray actor."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from metamath_ray.teacher._demands import Demand, GovernorStatus, Lease
from metamath_ray.teacher._governor import Governor
from metamath_ray.teacher._memory import FileMemory
from metamath_ray.teacher._metrics import RunMeter
from metamath_ray.teacher._options import TeacherOptions


class GovernorHandle(Protocol):
    """What a worker needs of the governor, wherever it lives."""

    async def lease(self, worker: str, demand: Demand) -> Lease:
        """See `Governor.lease`."""
        ...

    async def take_out(self, endpoint: int, reason: str) -> str | None:
        """See `Governor.take_out`."""
        ...


@dataclass(frozen=True)
class LocalGovernor:
    """A governor in the worker's own process, for one process and for tests."""

    governor: Governor

    async def lease(self, worker: str, demand: Demand) -> Lease:
        """See `Governor.lease`."""
        return self.governor.lease(worker, demand)

    async def take_out(self, endpoint: int, reason: str) -> str | None:
        """See `Governor.take_out`."""
        return self.governor.take_out(endpoint, reason)


@dataclass(frozen=True)
class RayGovernor:
    """The governor behind its named Ray actor; calls wait while Ray restarts it."""

    actor: Any

    async def lease(self, worker: str, demand: Demand) -> Lease:
        """See `Governor.lease`."""
        lease: Lease = await self.actor.lease.remote(worker, demand)
        return lease

    async def take_out(self, endpoint: int, reason: str) -> str | None:
        """See `Governor.take_out`."""
        stop: str | None = await self.actor.take_out.remote(endpoint, reason)
        return stop

    def add_verdicts(self, counts: Mapping[tuple[str, str], int]) -> None:
        """See `Governor.add_verdicts`; waits for nothing."""
        self.actor.add_verdicts.remote(counts)

    def status(self) -> GovernorStatus:
        """See `Governor.status`; blocks for the answer."""
        import ray

        status: GovernorStatus = ray.get(self.actor.status.remote())
        return status

    def close(self) -> None:
        """End the actor."""
        import ray

        ray.kill(self.actor)


class _ActorGovernor(Governor):
    """Knows whether Ray started it in the place of one that died, and tells Prometheus how the run does."""

    def __init__(
        self, options: TeacherOptions, budget_usd: float | None, spent_usd: float, memory: Path | None
    ) -> None:
        import ray

        with warnings.catch_warnings():  # Ray's own use of an old name inside
            warnings.simplefilter("ignore")
            restarted = bool(ray.get_runtime_context().was_current_actor_reconstructed)
        kept = FileMemory(memory) if memory is not None else None
        super().__init__(options, budget_usd, spent_usd, memory=kept, restarted=restarted)
        self._meter = RunMeter(self.status())

    def lease(self, worker: str, demand: Demand) -> Lease:
        """See `Governor.lease`."""
        lease = super().lease(worker, demand)
        self._meter.tell(self.status, self.clock())
        return lease


def start_governor(
    options: TeacherOptions,
    *,
    run_id: str,
    budget_usd: float | None,
    spent_usd: float,
    memory: Path | None = None,
) -> RayGovernor:
    """Start the run's governor as a named actor that Ray restarts when it dies.

    `memory`, a file in the run directory, lets the next one know what was spent before it, and how fast: the
    one that Ray starts in its place, and that of another run of the same command within the minute.
    """
    import ray

    actor = ray.remote(_ActorGovernor).options(
        name=f"metamath_ray.governor.{run_id}", num_cpus=0, max_restarts=-1, max_task_retries=-1
    )
    return RayGovernor(actor.remote(options, budget_usd, spent_usd, memory))
