"""The teacher as a Ray Data stage: rows in, rows with the teacher's replies out, many in flight."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from metamath_ray.teacher._handles import GovernorHandle
from metamath_ray.teacher._ledger import LedgerIndex
from metamath_ray.teacher._metrics import CallMeter
from metamath_ray.teacher._options import ApiKeys, TeacherOptions
from metamath_ray.teacher._requests import ChatRequest, Failure, Outcome
from metamath_ray.teacher._worker import TeacherWorker

_CLOSE_S = 5.0

Row = dict[str, Any]
Requester = Callable[[Row], ChatRequest | None]
"""What to ask for a row; None lets the row pass without a call."""
Receiver = Callable[[Row, list[Outcome]], list[Row]]
"""The rows that come of a row and the outcomes of its samples, in sample order (empty without a call)."""


@dataclass(frozen=True)
class StageSetup:
    """What every worker of a stage is given. `index` is a Ray object reference to a `LedgerIndex`.

    `failures` are those of a worker without an endpoint.
    """

    options: TeacherOptions
    governor: GovernorHandle
    index: Any
    ledger_folder: str
    api_keys: ApiKeys
    failures: Mapping[str, Failure] = field(default_factory=dict)


class TeacherStage:
    """A callable class for `Dataset.map_batches(..., batch_format="pyarrow")` with an actor pool.

    Each call asks for all rows of its batch at once and gives the rows of `receive` in the order of the
    input; several calls run on one event loop.
    """

    def __init__(self, setup: StageSetup, request: Requester, receive: Receiver, schema: pa.Schema) -> None:
        self._setup = setup
        self._request = request
        self._receive = receive
        self._schema = schema
        self._worker: TeacherWorker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """Ask for every row of the batch, and give the rows that come of it."""
        worker = self._worker = self._worker or self._start()
        worker.look_again()  # Ray repeats a dead worker's batch elsewhere: what that worker stored is there
        answered = await asyncio.gather(*(self._answer(worker, row) for row in batch.to_pylist()))
        await worker.report()
        return pa.Table.from_pylist([row for rows in answered for row in rows], schema=self._schema)

    def __del__(self) -> None:
        """Close connections and files: Ray Data drops its stage when the actor ends, and calls nothing else."""
        worker, loop = self._worker, self._loop
        if worker is None or loop is None or not loop.is_running():
            return
        closing = asyncio.run_coroutine_threadsafe(worker.close(), loop)
        with contextlib.suppress(TimeoutError):  # every reply is on disk: an end without it costs nothing
            closing.result(_CLOSE_S)

    async def _answer(self, worker: TeacherWorker, row: Row) -> list[Row]:
        request = self._request(row)
        outcomes = await worker.ask(request) if request is not None else []
        return self._receive(row, outcomes)

    def _start(self) -> TeacherWorker:
        """Made on the event loop that it will live on."""
        import ray

        self._loop = asyncio.get_running_loop()
        index: LedgerIndex = ray.get(self._setup.index)
        return TeacherWorker(
            self._setup.options,
            governor=self._setup.governor,
            index=index,
            ledger_folder=Path(self._setup.ledger_folder),
            api_keys=self._setup.api_keys,
            meter=CallMeter(),
            failures=self._setup.failures,
        )
