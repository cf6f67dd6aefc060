"""How an endpoint does, as one worker sees it: when it last replied, and how long it has failed since."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential, with jitter; what a Retry-After names comes on top, as a pause of the whole cluster."""

    first_s: float = 0.5
    max_s: float = 30.0

    def wait_s(self, faults: int) -> float:
        """Seconds until the call is made again after its `faults`-th fault."""
        ceiling = min(self.max_s, self.first_s * 2.0 ** min(faults - 1, 64))
        return random.uniform(ceiling / 4, ceiling)


PATIENT = Backoff()
"""What paid endpoints like."""


@dataclass(slots=True)
class Health:
    """Replies and faults of one endpoint, by an event loop's clock."""

    last_reply_at: float = 0.0
    silent_since: float | None = None  # the first fault behind the last reply
    faults: int = 0  # in a row

    def reply(self, now: float) -> None:
        """It has answered."""
        self.last_reply_at, self.silent_since, self.faults = now, None, 0

    def fault(self, now: float) -> float:
        """It has not; gives the seconds since it first failed."""
        self.faults += 1
        if self.silent_since is None:
            self.silent_since = now
        return now - self.silent_since
