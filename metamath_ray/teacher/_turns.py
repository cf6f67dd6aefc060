"""Whose turn it is where workers want more than a rate allows: a queue in time, a slice of the rate for each."""

import math
from dataclasses import dataclass

from metamath_ray.teacher._accounts import UNLIMITED

_ROUND_S = (0.1, 10.0)
"""In which every worker has its turn, where the rate has a call for each; nobody is silent for longer."""
_TURNS_PER_S = 50  # the governor's work: little of it, and often enough to leave nothing unfetched
_BOOKED = 0.98  # of the rate: what a turn brings is there when it comes, the rest goes to whoever finds it


@dataclass(slots=True)
class Turns:
    """Each turn comes when the rate has brought the calls of those booked before it.

    `num_active` workers are in the queue and `calls_per_s` is the rate, infinite where there is none; whoever books
    keeps both up to date.
    """

    num_active: int = 0
    calls_per_s: float = math.inf
    free_at: float = -math.inf

    @property
    def slice(self) -> int:
        """Calls that a turn brings: a worker's part of those of a round."""
        return max(1, int(min(self.calls_per_s * self._round_s() / max(1, self.num_active), UNLIMITED)))

    def book(self, calls: int, now: float) -> float:
        """When the turn of so many calls comes, behind all that were booked."""
        turn = max(now, self.free_at)
        self.free_at = turn + calls / (_BOOKED * self.calls_per_s)
        return turn

    def put_off(self, calls: int, now: float) -> None:
        """Let those behind wait for one that has found nothing at its turn; a long pause is no reason to wait on."""
        if self.free_at - now < self.num_active * self.slice / self.calls_per_s:
            self.book(calls, now)

    def again_s(self, turn: float | None, now: float) -> float:
        """Seconds until a worker is to ask again: at its turn, sooner to be heard of, or later for others' sake."""
        until_s = self._round_s() if turn is None else turn - now
        return min(_ROUND_S[1], max(_ROUND_S[0], self._round_s() / 4, until_s))

    def _round_s(self) -> float:
        return min(_ROUND_S[1], max(_ROUND_S[0], self.num_active / _TURNS_PER_S))
