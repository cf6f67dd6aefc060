"""What workers and governor tell each other, and what the run has done so far."""

import collections
from collections.abc import Mapping
from dataclasses import dataclass

from metamath_ray.teacher._limit_headers import SeenLimits

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
class EndpointReport:
    """What runs at one endpoint for a worker, and what came of it since the worker started.

    `unused` is how many requests of the last lease were not started and are given back, `soon` how many calls
    will end within a lease.
    """

    in_flight: int = 0
    unused: int = 0
    soon: int = 0
    calls: int = 0
    tokens: int = 0
    tokens_squared: int = 0
    retry_after_s: float | None = None  # set once after a 429 or 503: 0.0 where the server named no time
    limits: SeenLimits | None = None  # the newest headers since the last report
    avoided: bool = False  # it fails this worker; others may have better luck


@dataclass(frozen=True, slots=True)
class Demand:
    """A worker's report: how many calls wait there, what runs at each endpoint, and its counters so far."""

    waiting: int
    endpoints: tuple[EndpointReport, ...] = (EndpointReport(),)
    counters: Counters = Counters()

    @property
    def in_flight(self) -> int:
        """Calls that run, at all endpoints."""
        return sum(report.in_flight for report in self.endpoints)


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker may start at one endpoint: `requests`, never more than `slots` running at once."""

    requests: int = 0
    slots: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """What a worker may start within `LEASE_S`, a share for each endpoint; `stop` says why the run ends.

    `again_s` is when to ask again where the lease is less than what waits; asking sooner brings no more.
    """

    shares: tuple[Share, ...] = (Share(),)
    pause_s: float = 0.0
    again_s: float = LEASE_S / 2
    stop: str | None = None

    @property
    def requests(self) -> int:
        """Calls that may start, at all endpoints."""
        return sum(share.requests for share in self.shares)

    @property
    def slots(self) -> int:
        """Calls that may run at once, at all endpoints."""
        return sum(share.slots for share in self.shares)


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """One endpoint as the governor sees it: `out` says why it is used no more, `rate_factor` is 1 but after 429s.

    `leased` calls workers were allowed to start since the governor began, and `given_back` those that they did not.
    """

    name: str
    calls: int
    tokens: int
    in_flight: int
    rpm: float | None
    tpm: float | None
    rate_factor: float
    paused_s: float
    out: str | None
    leased: int = 0
    given_back: int = 0


@dataclass(frozen=True, slots=True)
class GovernorStatus:
    """The run's counters over all workers, for the progress line and the summary.

    `paths` are the graded reasoning paths by augmentation and verdict.
    """

    counters: Counters
    in_flight: int
    waiting: int
    stop: str | None
    paths: Mapping[tuple[str, str], int]
    endpoints: tuple[EndpointStatus, ...] = ()

    @property
    def verdicts(self) -> Mapping[str, int]:
        """Graded paths by verdict."""
        counts: collections.Counter[str] = collections.Counter()
        for (_, verdict), paths in self.paths.items():
            counts[verdict] += paths
        return counts
