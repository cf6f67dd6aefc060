"""The `metrics.jsonl` that a run writes and goes on with."""

import logging
from io import BufferedWriter
from pathlib import Path
from types import TracebackType

from metamath_ray.step_metrics import StepMetrics, load_metrics

_LOG = logging.getLogger(__name__)


class MetricsLog:
    """The file being written; for rank 0 alone, one at a time. A context manager.

    A line is with the system when `append` returns, so that a killed process loses none. What a kill tore off the
    last line is dropped on opening; any other damage is a `ValueError` that names file and line. `last_attempt` is
    the attempt of the last line found on opening, -1 where there was none: the next one's number is one more.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(path)
        metrics = load_metrics(path)
        self._last_step = metrics[-1].step if metrics else 0
        self.last_attempt = metrics[-1].attempt if metrics else -1
        self._file: BufferedWriter = path.open("ab")

    def append(self, metrics: StepMetrics) -> None:
        """Add one step; steps only rise."""
        assert metrics.step > self._last_step, f"step {metrics.step} after step {self._last_step}"
        self._file.write(metrics.to_line())
        self._file.flush()
        self._last_step = metrics.step

    def cut_after(self, step: int) -> int:
        """Drop the steps after `step`, the checkpoint's, and return how many; the file is whole at any moment."""
        metrics = load_metrics(self._path)
        kept = [one for one in metrics if one.step <= step]
        self._file.close()
        if len(kept) < len(metrics):
            partial = self._path.with_name(f".{self._path.name}.partial")
            partial.write_bytes(b"".join(one.to_line() for one in kept))
            partial.replace(self._path)
        self._file = self._path.open("ab")
        self._last_step = kept[-1].step if kept else 0
        return len(metrics) - len(kept)

    def close(self) -> None:
        """Nothing more is appended. Closing twice is fine."""
        self._file.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _drop_torn_line(path: Path) -> None:
    if not path.is_file():
        return
    with path.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            _LOG.warning("%s: dropped a last line that was not written whole", path)
            file.truncate(whole)
