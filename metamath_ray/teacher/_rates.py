"""A rate limit that holds over every window of 60 seconds, as a pure function of an injected clock."""

from dataclasses import dataclass, field

WINDOW_S = 60.0


@dataclass
class RateLimit:
    """Hands out `per_minute` units a minute in advance leases of at most `lease_s` seconds.

    A unit granted at t may be spent until t + `lease_s`, so what is spent in 60 s was granted in
    60 s + `lease_s`. Refill is slowed by that and by the burst, so that no window of 60 s ever holds
    more than `per_minute`. After a restart the bucket starts empty: the last minute may have been full.
    `debit` may take the level below zero (a call that used more than was foreseen); grants wait until
    it is paid back.
    """

    per_minute: float
    lease_s: float
    now: float
    factor: float = 1.0
    level: float = field(default=0.0, init=False)

    @property
    def burst(self) -> float:
        """Units that may lie ready: half a second's worth, at least one."""
        return max(1.0, self.per_minute / WINDOW_S / 2)

    @property
    def refill_per_s(self) -> float:
        """Units a second at the present factor."""
        return (
            self.factor * max(self.per_minute - self.burst, self.per_minute / 2) / (WINDOW_S + self.lease_s)
        )

    def refill(self, now: float) -> None:
        """Let time pass until `now` (a clock that goes backwards counts as standing still)."""
        self.level = min(self.burst, self.level + max(0.0, now - self.now) * self.refill_per_s)
        self.now = max(self.now, now)

    def grant(self, wanted: int) -> int:
        """Whole units granted now, at most `wanted`."""
        granted = max(0, min(wanted, int(self.level)))
        self.level -= granted
        return granted

    def debit(self, units: float) -> None:
        """Settle an estimate: positive where more was used than granted, negative where less."""
        self.level = min(self.burst, self.level - units)

    def wait_s(self) -> float:
        """Seconds until the next whole unit."""
        return max(0.0, (1.0 - self.level) / self.refill_per_s)
