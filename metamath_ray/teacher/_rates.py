"""A rate limit that holds over every window of 60 seconds, as a pure function of an injected clock."""

import math
from collections import deque
from dataclasses import dataclass, field

WINDOW_S = 60.0


@dataclass
class RateLimit:
    """Hands out `per_minute` units a minute in advance leases of at most `lease_s` seconds.

    A unit granted at t may be spent until t + `lease_s`, so what is spent in 60 s was granted in
    60 s + `lease_s`: a log of the grants keeps every such span within `per_minute`, and a bucket that refills
    at that rate spreads them. The bucket alone allows no more than its burst beyond that, so a restart, which
    loses the log, begins with the burst as a debt.
    """

    per_minute: float
    lease_s: float
    now: float
    factor: float = 1.0
    level: float = field(init=False)
    _log: deque[tuple[float, float]] = field(default_factory=deque, init=False)  # time, units
    _logged: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Twice: given back units may have gone out again on top of a burst."""
        self.level = 2 * (1.0 - self.burst)

    @property
    def burst(self) -> float:
        """Units that may lie ready: one, and what comes until the next report asks for it."""
        return 1.0 + self.per_minute / WINDOW_S * self.lease_s

    @property
    def refill_per_s(self) -> float:
        """Units a second at the present factor."""
        return self.factor * self.per_minute / (WINDOW_S + self.lease_s)

    def refill(self, now: float) -> None:
        """Let time pass until `now` (a clock that goes backwards counts as standing still)."""
        self.level = min(self.burst, self.level + max(0.0, now - self.now) * self.refill_per_s)
        self.now = max(self.now, now)
        while self._log and self.now - self._log[0][0] > WINDOW_S + self.lease_s:
            self._logged -= self._log.popleft()[1]
        if not self._log:
            self._logged = 0.0  # no rounding error stays behind

    def room_for(self, units: float) -> int:
        """How many calls of `units` each may start now; a call above the burst, or the limit, goes alone."""
        window = self.per_minute - self._logged
        if units <= self.burst:
            return max(0, int(min(self.level, window) // units))
        return int(self.level >= self.burst and (window >= units or not self._log))

    def charge(self, units: float) -> None:
        """Count `units` as spent now; the level may go below zero, and grants wait until it is paid back."""
        self.level -= units
        self._logged += units
        tick = self._tick(self.now)
        if self._log and self._log[-1][0] == tick:
            units += self._log.pop()[1]
        self._log.append((tick, units))

    def give_back(self, units: float, *, charged_at: float) -> None:
        """Take back units that were charged at `charged_at` and not spent."""
        self.level = min(self.burst, self.level + units)
        newest = self._tick(charged_at)
        for at in reversed(range(len(self._log))):
            time_s, logged = self._log[at]
            if time_s <= newest and units > 0:
                taken = min(units, logged)
                self._log[at] = (time_s, logged - taken)
                self._logged -= taken
                units -= taken

    def _tick(self, time_s: float) -> float:
        """Log entries are merged in steps, dated to their end: an entry leaves the window late, never early."""
        step_s = self.lease_s / 10
        return math.ceil(time_s / step_s) * step_s
