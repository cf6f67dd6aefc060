"""A rate limit that holds over every window of 60 seconds, as a pure function of an injected clock."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

WINDOW_S = 60.0
_RECOVERY_PER_S = 0.02
_SLOWEST = 0.05


@dataclass
class RateLimit:
    """Hands out `per_minute` units a minute in advance leases of at most `lease_s` seconds.

    A unit granted at t may be spent until t + `lease_s`, so what is spent in 60 s was granted in
    60 s + `lease_s`: a log of the grants keeps every such span within `per_minute`, and a bucket that refills
    at that rate spreads them. `factor` is the share of the rate that an endpoint takes at present.
    """

    per_minute: float
    lease_s: float
    now: float
    factor: float = 1.0
    level: float = field(init=False)
    _log: deque[tuple[float, float]] = field(default_factory=deque, init=False)  # time, units
    _logged: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Begin with a burst as debt: what was spent just before is not known."""
        self.level = 2 * (1.0 - self.burst)

    @property
    def burst(self) -> float:
        """Units that may lie ready: one, and what comes until the next report asks for it."""
        return 1.0 + self.per_minute / WINDOW_S * self.lease_s

    @property
    def refill_per_s(self) -> float:
        """Units a second at the present factor; a burst of several calls on top is what a span of the log may hold.

        More would fill the log now and then: nothing is granted then until its oldest grants leave it, and the gap
        comes back a minute later.
        """
        return self.factor * (self.per_minute - max(0.0, self.burst - 2.0)) / (WINDOW_S + self.lease_s)

    def refill(self, now: float) -> None:
        """Let time pass until `now` (a clock that goes backwards counts as standing still)."""
        passed_s = now - self.now
        if passed_s > 0:
            self.level = min(self.burst, self.level + passed_s * self.refill_per_s)
            self.factor = min(1.0, self.factor + _RECOVERY_PER_S * min(passed_s, 1.0))
            self.now = now
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
            if units <= 0:
                break
            time_s, logged = self._log[at]
            if time_s <= newest:
                taken = min(units, logged)
                self._log[at] = (time_s, logged - taken)
                self._logged -= taken
                units -= taken

    def slow_down(self) -> None:
        """One step slower; comes back by itself at a fiftieth a second."""
        self.factor = max(_SLOWEST, self.factor * 0.8)

    def lower_to(self, remaining: float) -> None:
        """Believe an endpoint that says it has no more than `remaining` units left: others may use it too."""
        self.level = min(self.level, remaining)

    def spare_for(self, units: float) -> int:
        """How many calls of `units` each lie ready beside half a burst, which those who come in turn may need."""
        spare = int((self.level - self.burst / 2) // units)
        return max(spare, int(self.level >= 0.75 * self.burst))

    def snapshot(self, now: float) -> "SavedRate":
        """What a governor that follows must know, in whole seconds of age."""
        by_age: dict[int, float] = {}
        for time_s, units in self._log:
            age = max(0, math.floor(now - time_s))  # younger, never older: it leaves the window late
            by_age[age] = by_age.get(age, 0.0) + units
        return SavedRate(self.per_minute, self.level, self.factor, sorted(by_age.items()))

    def restore(self, saved: "SavedRate", *, age_s: float, unknown_s: float) -> None:
        """Go on from a snapshot of `age_s` ago, behind which up to `unknown_s` seconds of grants are not known.

        They were within the bucket: its burst and what came meanwhile. That is charged as if spent just now.
        """
        self._log = deque(
            (self.now - age - age_s, units) for age, units in sorted(saved.log, key=lambda entry: -entry[0])
        )
        self._logged = sum(units for _, units in self._log)
        self.factor = saved.factor
        self.level = min(self.burst, saved.level + age_s * self.refill_per_s)
        self.refill(self.now)
        self.charge(self.burst + unknown_s * self.per_minute / WINDOW_S)

    def fill_window(self) -> None:
        """Count the whole minute before now as spent to the limit: nothing is known of it."""
        self.charge(max(0.0, self.per_minute - self._logged))

    def _tick(self, time_s: float) -> float:
        """Log entries are merged in steps, dated to their end: an entry leaves the window late, never early."""
        step_s = self.lease_s / 10
        return math.ceil(time_s / step_s) * step_s


@dataclass(frozen=True, slots=True)
class SavedRate:
    """A rate limit's state as it is written down: `log` holds age in seconds and units."""

    per_minute: float
    level: float
    factor: float
    log: Sequence[tuple[int, float]]
