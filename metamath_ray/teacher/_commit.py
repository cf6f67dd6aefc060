"""Group commit: many coroutines store replies, one fsync serves all that wait at the time."""

import asyncio

from metamath_ray.teacher._segments import SegmentWriter


class GroupCommit:
    """Appends lines to one segment; `store` returns once its lines are on disk."""

    def __init__(self, writer: SegmentWriter) -> None:
        self._writer = writer
        self._pending: list[tuple[list[bytes], asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def store(self, lines: list[bytes]) -> None:
        """Make `lines` durable. Raises OSError where the disk refuses them."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((lines, done))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        await done

    async def _flush(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            lines = [line for lines, _ in batch for line in lines]
            try:
                await asyncio.to_thread(self._writer.append, lines)
            except OSError as error:
                for _, done in batch:
                    done.set_exception(error)
            else:
                for _, done in batch:
                    done.set_result(None)
