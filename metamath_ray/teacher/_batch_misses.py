"""Samples that batches brought no reply for: asked again, alone, or given up, as it goes with single calls."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal, NamedTuple

from metamath_ray.teacher._asks import EMPTY_ASKED
from metamath_ray.teacher._requests import Failure

_FAULTS_AT_MOST = 5  # of one sample, in one run of the command, while others were answered


class Miss(NamedTuple):
    """Why a batch brought no reply for a sample.

    `rejected`: a 400; `empty`: no content; `fewer`: others of its request came, or a request for several samples
    was refused as all such were; `fault`: anything that may go well another time.
    """

    kind: Literal["rejected", "empty", "fewer", "fault"]
    detail: str = ""


class Misses:
    """The misses of a run's batches by ledger key, and the failures that come of them."""

    def __init__(self) -> None:
        self.failures: dict[str, Failure] = {}
        self._alone: set[str] = set()
        self._empty: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._first_fault: dict[str, int] = {}  # the number of the batch
        self._last_answer = self._num_batches = 0

    def add(self, misses: Mapping[str, Miss], *, was_answered: bool) -> bool:
        """Take in what one batch did not bring; False where the teacher may be silent, not some of its prompts fail.

        `was_answered` says whether any of its requests was.
        """
        self._num_batches += 1
        if was_answered:
            self._last_answer = self._num_batches
        for key, miss in misses.items():
            self._empty[key] += miss.kind == "empty"
            if miss.kind == "fewer":
                self._alone.add(key)
            if miss.kind == "fault":
                self._faults[key] += 1
                self._first_fault.setdefault(key, self._num_batches)
            if (failure := self._give_up(key, miss)) is not None:
                self.failures[key] = failure
        return was_answered or all(self._fails_alone(key) for key in misses)

    def forgive_faults(self) -> None:
        """Ask again for what only faults kept from being answered: another day may be a better one."""
        self._faults.clear()
        self._first_fault.clear()
        self.failures = {key: f for key, f in self.failures.items() if f.reason != "unanswered"}

    def is_asked_alone(self, key: str) -> bool:
        """True for what a request for several samples has not brought."""
        return key in self._alone

    def _give_up(self, key: str, miss: Miss) -> Failure | None:
        if miss.kind == "rejected":
            return Failure(key, "rejected", miss.detail)
        if self._empty[key] >= EMPTY_ASKED:
            return Failure(key, "empty", f"no content, asked {EMPTY_ASKED} times")
        if self._faults[key] >= _FAULTS_AT_MOST and self._fails_alone(key):
            return Failure(key, "unanswered", f"{_FAULTS_AT_MOST} faults, last: {miss.detail}")
        return None

    def _fails_alone(self, key: str) -> bool:
        """Others were answered since it first failed: it is the prompt, not the teacher."""
        return self._last_answer >= self._first_fault.get(key, 0)
