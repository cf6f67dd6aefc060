"""What an endpoint says of its own limits: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_YEAR_2001_S = 1e9  # a greater number is a point in time, not a span


@dataclass(frozen=True, slots=True)
class Window:
    """One limit as the endpoint sees it: units in all, units left, seconds until all are there again."""

    limit: float | None = None
    remaining: float | None = None
    reset_s: float | None = None

    @property
    def period_s(self) -> float | None:
        """Seconds in which `limit` units come back, where limit, rest and reset tell; providers count differently.

        A bucket of 60 a minute with one taken is full again in a second; one of 14,400 a day in six.
        """
        if self.limit is None or self.remaining is None or not self.reset_s or self.remaining >= self.limit:
            return None
        return self.reset_s * self.limit / (self.limit - self.remaining)


_UNKNOWN = Window()


@dataclass(frozen=True, slots=True)
class SeenLimits:
    """The newest limits that an endpoint has told of itself."""

    requests: Window
    tokens: Window


def read_limits(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> SeenLimits | None:
    """The limits in a reply's headers (names in any case that the mapping takes); None where it has none."""
    requests, tokens = (_read_window(headers, unit, now) for unit in ("requests", "tokens"))
    return SeenLimits(requests, tokens) if requests != _UNKNOWN or tokens != _UNKNOWN else None


def read_reset_s(text: str, now: Callable[[], float] = time.time) -> float | None:
    """Seconds named by `1s`, `6m0s`, `20ms`, `1h2m3.5s`, `59.7`, an RFC 3339 date or a Unix time; None for others."""
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        return _read_span_s(text) if _PART.match(text) else _read_date_s(text, now)
    if not 0 <= number < float("inf"):
        return None
    if number < _YEAR_2001_S:
        return number
    return max(0.0, (number / 1000 if number >= 1000 * _YEAR_2001_S else number) - now())


def _read_window(headers: Mapping[str, str], unit: str, now: Callable[[], float]) -> Window:
    limit, remaining, reset = (headers.get(f"x-ratelimit-{name}-{unit}") for name in _NAMES)
    if limit is None and remaining is None:
        return _UNKNOWN
    return Window(_number(limit), _number(remaining), read_reset_s(reset, now) if reset else None)


_NAMES = ("limit", "remaining", "reset")


def _read_span_s(text: str) -> float | None:
    parts = _PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _read_date_s(text: str, now: Callable[[], float]) -> float | None:
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - now())


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None
