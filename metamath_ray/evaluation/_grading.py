"""Completions graded while others are still made: in one thread, with the symbolic step in processes of its own."""

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from metamath_ray.answers import RuleSet, SymbolicPool
from metamath_ray.evaluation._predictions import Prediction
from metamath_ray.evaluation._regrade import grade_predictions


class Grading:
    """Grades what it is given, behind the caller. A context manager; `finish()` before the results are used.

    `seconds` is the time that grading took; most of it ran beside the engine.
    """

    def __init__(self, grader: RuleSet, *, num_workers: int = 1) -> None:
        self.correct: Counter[str] = Counter()
        self.graded: Counter[str] = Counter()
        self.seconds = 0.0
        self._grader = grader
        self._by_key: dict[str, Prediction] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grading")
        self._pool = SymbolicPool(num_workers)
        self._futures: list[Future[None]] = []

    def submit(self, predictions: Sequence[Prediction]) -> None:
        """Grade them some time."""
        if predictions:
            self._futures.append(self._thread.submit(self._grade, tuple(predictions)))

    def finish(self) -> None:
        """Return when all that was submitted is graded. Raises what the grading raised."""
        for future in self._futures:
            future.result()
        self._futures.clear()

    def of(self, prediction: Prediction) -> Prediction:
        """The graded form of a prediction that was submitted."""
        return self._by_key[prediction.request_key]

    def _grade(self, predictions: tuple[Prediction, ...]) -> None:
        started = time.perf_counter()
        for prediction in grade_predictions(predictions, pool=self._pool):
            self._by_key[prediction.request_key] = prediction
            self.graded[prediction.benchmark] += 1
            self.correct[prediction.benchmark] += prediction.verdict(self._grader) == "correct"
        self.seconds += time.perf_counter() - started

    def __enter__(self) -> "Grading":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=kind is None, cancel_futures=True)
        self._pool.close()
