"""Group commit: many coroutines store replies, one fsync serves all that wait at the time."""

import asyncio

from metamath_ray.teacher._ledger import Place
from metamath_ray.teacher._segments import SegmentWriter


class GroupCommit:
    """Appends lines to one segment; `store` returns once its lines are on disk."""

    def __init__(self, writer: SegmentWriter) -> None:
        self._writer = writer
        self._pending: list[tuple[list[bytes], asyncio.Future[list[Place]]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def store(self, lines: list[bytes]) -> list[Place]:
        """Make `lines` durable and say where they are. Raises OSError where the disk refuses them."""
        done: asyncio.Future[list[Place]] = asyncio.get_running_loop().create_future()
        self._pending.append((lines, done))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        return await done

    async def close(self) -> None:
        """Let what is pending reach the disk, then close the segment."""
        if self._flusher is not None:
            await self._flusher
        self._writer.close()

    async def _flush(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            try:
                places = await asyncio.to_thread(self._append, [line for lines, _ in batch for line in lines])
            except OSError as error:
                for _, done in batch:
                    if not done.done():  # its caller may have been cancelled
                        done.set_exception(error)
                continue
            for lines, done in batch:
                mine, places = places[: len(lines)], places[len(lines) :]
                if not done.done():
                    done.set_result(mine)

    def _append(self, lines: list[bytes]) -> list[Place]:
        segment = str(self._writer.path)
        offsets = self._writer.append(lines)
        return [Place(segment, at, len(line)) for at, line in zip(offsets, lines, strict=True)]
