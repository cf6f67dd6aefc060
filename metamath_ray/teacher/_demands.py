"""What workers and governor tell each other, and what the run has done so far."""

from collections.abc import Mapping
from dataclasses import dataclass

LEASE_S = 0.5


@dataclass(frozen=True, slots=True)
class Counters:
    """What one worker has done since it started; sums, never differences."""

    calls_made: int = 0
    calls_reused: int = 0
    calls_failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    http_429: int = 0
    retries: int = 0
    fewer_samples_than_asked: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: "Counters") -> "Counters":
        """The sum, field by field."""
        return Counters(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def minus(self, other: "Counters") -> "Counters":
        """The difference, field by field."""
        return Counters(*(getattr(self, name) - getattr(other, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class Demand:
    """A worker's report: what waits and what runs there, and its counters so far.

    `wanted` is how many requests it can start within a lease, `unused` how many of its last lease it
    did not start and gives back.
    """

    waiting: int
    in_flight: int
    wanted: int = 0
    unused: int = 0
    counters: Counters = Counters()
    retry_after_s: float | None = None  # set once after a 429 or 503: 0.0 where the server named no time


@dataclass(frozen=True, slots=True)
class Lease:
    """What a worker may start now: `requests` within `LEASE_S`, never more than `slots` running at once."""

    requests: int
    slots: int
    pause_s: float
    stop: str | None = None


@dataclass(frozen=True, slots=True)
class GovernorStatus:
    """The run's counters over all workers, for the progress line and the summary."""

    counters: Counters
    in_flight: int
    waiting: int
    stop: str | None
    verdicts: Mapping[str, int]
