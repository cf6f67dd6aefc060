"""A worker's side of one endpoint: what it may start there, what runs, what came of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from metamath_ray.teacher._demands import LEASE_S, EndpointReport, Share
from metamath_ray.teacher._limit_headers import read_limits


@dataclass(slots=True)
class _Rate:
    """Completions a second, smoothed, to foresee how many calls a lease can use."""

    since: float
    per_s: float = 0.0
    done: int = 0

    def foresee(self, now: float) -> int:
        if now - self.since >= LEASE_S:
            self.per_s = 0.5 * self.per_s + 0.5 * self.done / (now - self.since)
            self.done, self.since = 0, now
        return int(self.per_s * LEASE_S * 1.5) + 1


@dataclass(slots=True)
class Place:
    """What this worker holds and runs at one endpoint."""

    since: float
    left: int = 0  # of the lease
    slots: int = 0
    in_flight: int = 0
    calls: int = 0
    tokens: int = 0
    tokens_squared: int = 0
    retry_after_s: float | None = None
    headers: Mapping[str, str] | None = None  # of the newest reply
    handed_back: int = 0
    avoid_until: float = -math.inf
    on_trial: bool = False  # it failed: one call at a time until one is answered
    rate: _Rate = field(init=False)

    def __post_init__(self) -> None:
        """Count from now."""
        self.rate = _Rate(self.since)

    @property
    def free(self) -> int:
        """Calls that may start; none after a 429, until the governor says how it goes on."""
        slots = min(self.slots, 1) if self.on_trial else self.slots
        return min(self.left, slots - self.in_flight) if self.retry_after_s is None else 0

    def hand_back(self) -> None:
        """Start nothing more of this lease."""
        self.handed_back += self.left
        self.left = 0

    def report(self, now: float) -> EndpointReport:
        """What the governor is to know; what was left of the lease is given back with it."""
        self.hand_back()
        report = EndpointReport(
            in_flight=self.in_flight,
            unused=self.handed_back,
            soon=self.rate.foresee(now),
            calls=self.calls,
            tokens=self.tokens,
            tokens_squared=self.tokens_squared,
            retry_after_s=self.retry_after_s,
            limits=read_limits(self.headers) if self.headers is not None else None,
            avoided=now < self.avoid_until,
        )
        self.handed_back, self.retry_after_s, self.headers = 0, None, None
        return report

    def take(self, share: Share) -> None:
        """Begin a lease."""
        self.left, self.slots = share.requests, share.slots


def could_start(share: Share, report: EndpointReport) -> int:
    """Calls that a worker could start at an endpoint within a lease: in free slots, and in those that come free."""
    return max(0, share.slots - report.in_flight) + report.soon if share.slots else 0
