"""Tells an engine that computes, however slowly, from one that stands still with requests in hand."""

import time


class StallWatch:
    """Knows when an engine last made a step; `limit_s` without one is a stall, while requests wait."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._moved_at = time.monotonic()

    def step(self) -> None:
        """The engine gave tokens."""
        self._moved_at = time.monotonic()

    def has_stalled(self, num_unfinished: int) -> bool:
        """Whether the engine should have moved; to be asked every few seconds, as an idle engine counts as moving."""
        if not num_unfinished:
            self.step()
        return time.monotonic() - self._moved_at > self._limit_s
