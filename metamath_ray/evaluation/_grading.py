"""Verdicts under both rule sets, and completions graded while others are still made."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType

from metamath_ray.answers import AnswerVerdict, Graded, RuleSet, SymbolicPool, grade_many
from metamath_ray.evaluation._journal import FAILED
from metamath_ray.evaluation._predictions import Prediction, Verdict
from metamath_ray.problems import Style

_PIECE = 64


def grade_predictions(
    predictions: Sequence[Prediction], *, pool: SymbolicPool | None = None
) -> tuple[Prediction, ...]:
    """The same predictions with answers and verdicts under both rule sets; what they had is not looked at.

    Answers that no string and no number settles block for the pool's time limit at most.
    """
    graded = list(predictions)
    styles: tuple[Style, ...] = ("gsm", "math")
    for style in styles:
        places = [place for place, prediction in enumerate(predictions) if prediction.style == style]
        pairs = [(predictions[place].completion, predictions[place].expected) for place in places]
        fixed = grade_many(pairs, source=style, rules="fixed", pool=pool)
        paper = grade_many(pairs, source=style, rules="paper")
        for place, one, other in zip(places, fixed, paper, strict=True):
            graded[place] = _with_verdicts(predictions[place], one, other)
    return tuple(graded)


class Grading:
    """Grades what it is given, behind the caller: in one thread, with the symbolic step in a process of its own.

    A context manager; `finish()` before the results are used. `seconds` is the time that grading took; most of it ran
    beside the engine. `correct` of `graded` so far are right under the rules of the headline.
    """

    def __init__(self, grader: RuleSet) -> None:
        self.correct = self.graded = 0
        self.seconds = 0.0
        self._grader = grader
        self._by_key: dict[str, Prediction] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grading")
        self._pool = SymbolicPool()
        self._futures: list[Future[None]] = []

    def submit(self, predictions: Sequence[Prediction]) -> None:
        """Grade them some time, in pieces: an interrupted evaluation waits for the one at hand."""
        for start in range(0, len(predictions), _PIECE):
            self._futures.append(self._thread.submit(self._grade, predictions[start : start + _PIECE]))

    def finish(self) -> None:
        """Return when all that was submitted is graded. Raises what the grading raised."""
        for future in self._futures:
            future.result()
        self._futures.clear()

    def of(self, prediction: Prediction) -> Prediction:
        """The graded form of a prediction that was submitted."""
        return self._by_key[prediction.request_key]

    def _grade(self, predictions: Sequence[Prediction]) -> None:
        started = time.perf_counter()
        for prediction in grade_predictions(predictions, pool=self._pool):
            self._by_key[prediction.request_key] = prediction
            self.graded += 1
            self.correct += prediction.verdict(self._grader) == "correct"
        self.seconds += time.perf_counter() - started

    def __enter__(self) -> "Grading":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=kind is None, cancel_futures=True)
        self._pool.close()


def _with_verdicts(prediction: Prediction, fixed: Graded, paper: Graded) -> Prediction:
    return replace(
        prediction,
        extracted_fixed=fixed.extracted,
        verdict_fixed=_verdict(fixed.verdict, prediction.finish_reason),
        decided_by_fixed=fixed.decided_by,
        extracted_paper=paper.extracted,
        verdict_paper=_verdict(paper.verdict, prediction.finish_reason),
    )


def _verdict(verdict: AnswerVerdict, finish_reason: str) -> Verdict:
    """An answer that stands before the cut counts; where none does, the cut is the reason."""
    if finish_reason == FAILED:
        return "failed"
    return "truncated" if verdict == "no_answer" and finish_reason == "length" else verdict
