"""The governor's account of one endpoint: its limits, its slots, what it said of itself, and why it is out."""

import logging
import math
from dataclasses import dataclass

from metamath_ray.teacher._demands import LEASE_S, EndpointStatus
from metamath_ray.teacher._limit_headers import SeenLimits, Window
from metamath_ray.teacher._options import Endpoint
from metamath_ray.teacher._rates import RateLimit, SavedRate

logger = logging.getLogger(__name__)

UNLIMITED = 1 << 40
CALLS_OF_UNKNOWN_SIZE = 4

_TOKENS_A_CALL_AT_FIRST = 1_000.0
_REMEMBERED_CALLS = 2_000
_A_MINUTE_S = (45.0, 75.0)  # a limit whose units come back in about that time is one by the minute
_RECOVERY_PER_S = 0.02


@dataclass(slots=True)
class CallSize:
    """Tokens of a call, from the newest few thousand: the mean, and how far a number of calls may lie above it."""

    calls: float = 0.0
    tokens: float = 0.0
    squares: float = 0.0

    def add(self, calls: int, tokens: int, squares: int) -> None:
        """Take in calls that were billed."""
        self.calls, self.tokens, self.squares = (
            self.calls + calls,
            self.tokens + tokens,
            self.squares + squares,
        )
        if self.calls > 2 * _REMEMBERED_CALLS:
            self.calls, self.tokens, self.squares = self.calls / 2, self.tokens / 2, self.squares / 2

    @property
    def mean(self) -> float:
        """Tokens of one call."""
        return max(1.0, self.tokens / self.calls) if self.calls >= 1 else _TOKENS_A_CALL_AT_FIRST

    def most(self, calls: int) -> float:
        """Tokens that so many calls will hardly exceed (four standard deviations of their sum)."""
        mean = self.mean
        variance = max(0.0, self.squares / self.calls - mean * mean) if self.calls >= 1 else 0.0
        return mean * calls + 4.0 * math.sqrt(variance * calls)


@dataclass(frozen=True, slots=True)
class SavedEndpoint:
    """An account as it is written down."""

    name: str
    requests: SavedRate | None
    tokens: SavedRate | None
    slot_factor: float
    paused_s: float
    out: str | None
    calls_billed: int
    tokens_billed: int
    charged: float
    written_off: float
    lost_calls: int = 0


class EndpointAccount:
    """Rates, slots and breaker of one endpoint. `size` is shared by all of them: it is one model."""

    def __init__(self, endpoint: Endpoint, size: CallSize, now: float) -> None:
        self.endpoint = endpoint
        self.requests = RateLimit(endpoint.rpm, LEASE_S, now) if endpoint.rpm else None
        self.tokens = RateLimit(endpoint.tpm, LEASE_S, now) if endpoint.tpm else None
        self.out: str | None = None
        self.in_flight = self.granted = self.held = self.needed = 0  # sums over the workers
        self.calls_billed = self.tokens_billed = 0
        self.leased = self.given_back = 0
        self.lost_calls = 0  # of workers that died: nobody will tell what they cost
        self._size = size
        self._now = now
        self._slot_factor = 1.0
        self._paused_until = self._slowed_at = -math.inf
        self._charged = 0.0
        self._written_off = 0.0

    @property
    def outstanding(self) -> int:
        """Calls that run or may have been started."""
        return self.in_flight + self.granted

    @property
    def capacity(self) -> int:
        """Calls that may run at once; fewer after 429s where there is no rate to lower."""
        return max(1, int(self.endpoint.max_in_flight * self._slot_factor)) if self.out is None else 0

    def paused_s(self, now: float) -> float:
        """Seconds in which nothing may start here."""
        return max(0.0, self._paused_until - now)

    def bill(self, calls: int, tokens: int, *, squares: int, is_new: bool) -> None:
        """Count what a worker was billed since its last report; `is_new` where it is the first we hear of it."""
        self.calls_billed += calls
        self.tokens_billed += tokens
        if is_new:  # a restart forgot it: no debt of this minute's
            self._charged += tokens
        else:
            self._size.add(calls, tokens, squares)

    def write_off(self, calls: int) -> None:
        """Calls of a worker that died: nobody will tell what they took, so they took what calls take."""
        self.lost_calls += calls
        self._written_off += self._size.mean * calls

    def refill(self, now: float) -> None:
        """Let time pass."""
        self._slot_factor = min(
            1.0, self._slot_factor + _RECOVERY_PER_S * max(0.0, min(now - self._now, 1.0))
        )
        self._now = now
        for limit in self._limits():
            limit.refill(now)

    def settle(self) -> None:
        """Set what calls were thought to take right by their bills."""
        charge = self.tokens_billed + self._written_off + self._size.most(self.outstanding)
        more = charge - self._charged
        self._charged = charge
        if self.tokens is None:
            return
        if more > 0:
            self.tokens.charge(more)
        else:
            self.tokens.give_back(-more, charged_at=self._now)

    def room(self, now: float) -> int:
        """Calls that rates, pause and breaker leave room for."""
        if self.out is not None or now < self._paused_until:
            return 0
        room = UNLIMITED if self.requests is None else self.requests.room_for(1.0)
        if self.tokens is None:
            return room
        if self._size.calls < 1:
            room = min(room, max(0, CALLS_OF_UNKNOWN_SIZE - self.outstanding))
        return min(room, self.tokens.room_for(self._size.mean))

    def grant(self, calls: int) -> None:
        """Count calls as started."""
        self.granted += calls
        self.leased += calls
        if self.requests is not None:
            self.requests.charge(calls)
        self.settle()

    def take_back(self, calls: int, *, granted_at: float) -> None:
        """Requests of a lease that were not started."""
        self.given_back += calls
        if self.requests is not None and calls > 0:
            self.requests.give_back(calls, charged_at=granted_at)

    def calls_per_s(self) -> float:
        """Calls a second that the rates allow; infinite without any."""
        if self.out is not None:
            return 0.0
        by_requests = self.requests.refill_per_s if self.requests is not None else math.inf
        return min(by_requests, self.tokens.refill_per_s / self._size.mean if self.tokens else math.inf)

    def spare(self, now: float) -> int:
        """Calls of `room` that nobody has come for."""
        by_requests = self.requests.spare_for(1.0) if self.requests is not None else UNLIMITED
        by_tokens = self.tokens.spare_for(self._size.mean) if self.tokens is not None else UNLIMITED
        return min(self.room(now), by_requests, by_tokens)

    def slow_down(self, retry_after_s: float, now: float) -> None:
        """Obey a 429 or 503: a pause where the server named one, and one step slower, once a second at most."""
        self._paused_until = max(self._paused_until, now + retry_after_s)
        if now - self._slowed_at < 1.0:  # however many workers tell of the same limit
            return
        self._slowed_at = now
        for limit in self._limits():
            limit.slow_down()
        if self.requests is None:
            self._slot_factor = max(0.05, self._slot_factor * 0.8)

    def learn(self, seen: SeenLimits, now: float) -> float:
        """Believe the endpoint's headers; gives the seconds of the pause they ask for."""
        self.requests, pause_s = self._learn(self.requests, seen.requests, self.endpoint.rpm, "requests", now)
        self.tokens, other_s = self._learn(self.tokens, seen.tokens, self.endpoint.tpm, "tokens", now)
        pause_s = max(pause_s, other_s)
        self._paused_until = max(self._paused_until, now + pause_s)
        return pause_s

    def _learn(
        self, limit: RateLimit | None, seen: Window, told: int | None, unit: str, now: float
    ) -> tuple[RateLimit | None, float]:
        by_minute = seen.period_s is not None and _A_MINUTE_S[0] <= seen.period_s <= _A_MINUTE_S[1]
        if by_minute and seen.limit:
            allowed = min(seen.limit, told or math.inf)
            limit = limit or RateLimit(allowed, LEASE_S, now)
            if told is not None and limit.per_minute != allowed < told:
                name = self.endpoint.name
                logger.warning(
                    "%s allows %d %s a minute, not the %d of the options", name, allowed, unit, told
                )
            limit.per_minute = allowed
        if limit is not None and seen.remaining is not None:
            limit.lower_to(seen.remaining)
        exhausted = seen.remaining == 0 and not by_minute  # by the day, or in windows that begin anew
        return limit, (seen.reset_s or 0.0) if exhausted else 0.0

    def status(self, now: float) -> EndpointStatus:
        """What a person may want to see."""
        return EndpointStatus(
            name=self.endpoint.name,
            calls=self.calls_billed,
            tokens=self.tokens_billed,
            in_flight=self.in_flight,
            rpm=self.requests.per_minute if self.requests else None,
            tpm=self.tokens.per_minute if self.tokens else None,
            rate_factor=min([self._slot_factor, *(limit.factor for limit in self._limits())]),
            paused_s=self.paused_s(now),
            out=self.out,
            leased=self.leased,
            given_back=self.given_back,
        )

    def snapshot(self, now: float) -> SavedEndpoint:
        """What a governor that follows must know."""
        return SavedEndpoint(
            name=self.endpoint.name,
            requests=self.requests.snapshot(now) if self.requests else None,
            tokens=self.tokens.snapshot(now) if self.tokens else None,
            slot_factor=self._slot_factor,
            paused_s=self.paused_s(now),
            out=self.out,
            calls_billed=self.calls_billed,
            tokens_billed=self.tokens_billed,
            charged=self._charged,
            written_off=self._written_off,
            lost_calls=self.lost_calls,
        )

    def restore_rates(self, saved: SavedEndpoint, *, age_s: float, unknown_s: float) -> None:
        """What was spent in the last minute, and pauses that are not over; good for another run too."""
        self.requests = self._restore(self.requests, saved.requests, age_s, unknown_s)
        self.tokens = self._restore(self.tokens, saved.tokens, age_s, unknown_s)
        self._slot_factor = saved.slot_factor
        self._paused_until = self._now + saved.paused_s - age_s

    def restore_run(self, saved: SavedEndpoint) -> None:
        """What belongs to the run that goes on: bills, and the breaker."""
        self.out, self._charged, self._written_off = saved.out, saved.charged, saved.written_off
        self.calls_billed, self.tokens_billed = saved.calls_billed, saved.tokens_billed
        self.lost_calls = saved.lost_calls

    def fill_window(self) -> None:
        """Nothing is known of the minute before now: it counts as spent to the limits."""
        for limit in self._limits():
            limit.fill_window()

    def _restore(
        self, limit: RateLimit | None, saved: SavedRate | None, age_s: float, unknown_s: float
    ) -> RateLimit | None:
        if saved is None:
            return limit
        if limit is None:  # it was learned
            limit = RateLimit(saved.per_minute, LEASE_S, self._now)
        limit.per_minute = min(limit.per_minute, saved.per_minute)
        limit.restore(saved, age_s=age_s, unknown_s=unknown_s)
        return limit

    def _limits(self) -> list[RateLimit]:
        return [limit for limit in (self.requests, self.tokens) if limit is not None]
