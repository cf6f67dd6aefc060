"""Blocks of rows through workers: on Ray Data where Ray runs, else in this process, with the same result."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

OnProgress = Callable[[str, int, int], None]
"""Told what is done, how many of it, and of how many."""


class WorkersFailedError(RuntimeError):
    """Workers on Ray failed, and not for something that they could report; the text is one line."""


class Worker(Protocol):
    """Made once in each process, then called with block after block."""

    def __call__(self, block: pa.Table) -> pa.Table: ...


class WorkerKind(Protocol):
    """The class of a worker."""

    def __call__(self, *arguments: Any) -> Worker: ...


@dataclass(frozen=True, slots=True)
class Pool:
    """How many workers there are, and what each of them holds of the cluster."""

    size: int
    num_cpus: float
    num_gpus: float = 0.0


def ray_runs() -> bool:
    """Whether Ray is up in this process; asks without importing it, which takes seconds."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def model_pool(num_workers: int | None) -> Pool:
    """Workers that each hold a model: a GPU each where there are any, else all CPUs shared out."""
    resources = _resources()
    num_gpus = int(resources.get("GPU", 0))
    size = num_workers or max(1, num_gpus)
    if num_gpus:
        return Pool(size, num_cpus=1, num_gpus=min(1.0, num_gpus / size))
    return Pool(size, num_cpus=max(1, int(resources.get("CPU", 1)) // size))


def cpu_pool() -> Pool:
    """A worker with one thread for each CPU."""
    return Pool(max(1, int(_resources().get("CPU", 1))), num_cpus=1)


def waiting_pool() -> Pool:
    """One worker that waits for the network."""
    return Pool(1, num_cpus=0.01)


def share_with_workers(value: Any) -> Any:
    """The value as a worker's argument: put once into Ray's object store, where arrays are read without a copy."""
    if not ray_runs():
        return value
    import ray

    return ray.put(value)


def shared_value(reference: Any) -> Any:
    """What `share_with_workers` was given."""
    if not ray_runs():
        return reference
    import ray

    return ray.get(reference) if isinstance(reference, ray.ObjectRef) else reference


def map_blocks(
    blocks: Sequence[pa.Table], kind: WorkerKind, *arguments: Any, pool: Pool
) -> Iterator[pa.Table]:
    """What workers make of the blocks, in any order; each worker is `kind(*arguments)`."""
    if not blocks:
        return
    if not ray_runs():
        worker = kind(*arguments)
        yield from map(worker, blocks)
        return
    yield from _map_on_ray(blocks, kind, arguments, pool)


def _map_on_ray(
    blocks: Sequence[pa.Table], kind: WorkerKind, arguments: tuple[Any, ...], pool: Pool
) -> Iterator[pa.Table]:
    import ray
    from ray.data.exceptions import SystemException
    from ray.exceptions import RayError

    mapped = ray.data.from_arrow(list(blocks)).map_batches(
        kind,
        fn_constructor_args=arguments,
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(pool.size, len(blocks))),
        num_cpus=pool.num_cpus,
        num_gpus=pool.num_gpus or None,
    )
    try:
        yield from mapped.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except (RayError, SystemException) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WorkersFailedError(lines[-1].strip()[:300]) from error


def _resources() -> dict[str, float]:
    if not ray_runs():
        return {"CPU": 1}
    import ray

    resources: dict[str, float] = ray.cluster_resources()
    return resources
