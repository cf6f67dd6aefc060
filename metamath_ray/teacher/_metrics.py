"""What the teacher stage tells Prometheus, through Ray's own metrics: of each call, and of the run as a whole."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from metamath_ray.teacher._client import Completion
from metamath_ray.teacher._demands import EndpointStatus, GovernorStatus
from metamath_ray.teacher._faults import Fault, Reject, Stop

_LATENCIES_S = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
_TELL_EVERY_S = 1.0


class Meter(Protocol):
    """Hears of every call of a worker."""

    def call(self, endpoint: str, answer: Completion | Fault | None, seconds: float) -> None:
        """Count one call; `answer` is None where its caller was gone."""
        ...


class CallMeter:
    """A worker's: seconds of each call, by endpoint and outcome; its counts are calls, 429s and retries by cause."""

    def __init__(self) -> None:
        from ray.util.metrics import Histogram

        self._seconds = Histogram(
            "metamath_ray_teacher_call_seconds",
            "Seconds that calls to the teacher took",
            boundaries=_LATENCIES_S,
            tag_keys=("endpoint", "outcome"),
        )

    def call(self, endpoint: str, answer: Completion | Fault | None, seconds: float) -> None:
        """See `Meter.call`."""
        self._seconds.observe(seconds, tags={"endpoint": endpoint, "outcome": name_outcome(answer)})


def name_outcome(answer: Completion | Fault | None) -> str:
    """One of few words: `reply`, `rejected`, `stopped`, `cancelled`, or why the call is made again."""
    if answer is None:
        return "cancelled"
    if isinstance(answer, Completion):
        return "reply"
    if isinstance(answer, Reject | Stop):
        return "rejected" if isinstance(answer, Reject) else "stopped"
    return answer.cause.partition(":")[0]  # behind it stands what differs from case to case


class RunMeter:
    """The governor's: what all workers together have done and spent, told once a second.

    `before` is what a governor that was restarted knew: the one before it has told that.
    """

    def __init__(self, before: GovernorStatus) -> None:
        self._told = _totals(before)
        self._told_at = 0.0
        self._counters: dict[str, Any] = {}
        self._gauges: dict[str, Any] = {}

    def tell(self, ask_status: Callable[[], GovernorStatus], now: float) -> None:
        """Bring the metrics up to date, if they are a second old."""
        if now - self._told_at < _TELL_EVERY_S:
            return
        self._told_at, status = now, ask_status()
        totals = _totals(status)
        for (name, *tags), total in totals.items():
            if (more := total - self._told.get((name, *tags), 0)) > 0:
                self._counter(name, dict(_pairs(tags))).inc(more, tags=dict(_pairs(tags)))
        self._told = totals
        self._set("waiting", status.waiting, {})
        for endpoint in status.endpoints:
            for name, value in _levels(endpoint).items():
                self._set(name, value, {"endpoint": endpoint.name})

    def _counter(self, name: str, tags: Mapping[str, str]) -> Any:
        from ray.util.metrics import Counter

        if name not in self._counters:
            self._counters[name] = Counter(f"metamath_ray_{name}", _HELP[name], tag_keys=tuple(tags))
        return self._counters[name]

    def _set(self, name: str, value: float, tags: dict[str, str]) -> None:
        from ray.util.metrics import Gauge

        if name not in self._gauges:
            self._gauges[name] = Gauge(f"metamath_ray_teacher_{name}", _HELP[name], tag_keys=tuple(tags))
        self._gauges[name].set(value, tags=tags)


_HELP = {
    "teacher_samples_reused": "Samples that the ledger answered",
    "teacher_tokens": "Tokens billed by the teacher",
    "teacher_usd": "US dollars billed by the teacher",
    "teacher_leased_calls": "Calls that workers were allowed to start: started, or given back",
    "paths": "Reasoning paths graded, by augmentation and verdict",
    "waiting": "Calls that wait for the right to start",
    "in_flight": "Calls in flight",
    "allowed_per_minute": "Requests a minute allowed at present (0: no limit)",
    "paused_seconds": "Seconds for which the endpoint has asked for silence",
    "is_out": "1 where the endpoint is used no more",
}
"""Counters and gauges with what they mean."""


def _totals(status: GovernorStatus) -> dict[tuple[str, ...], float]:
    """What only grows, by name of the metric and its tags."""
    counters = status.counters
    totals: dict[tuple[str, ...], float] = {
        ("teacher_samples_reused",): counters.calls_reused,
        ("teacher_tokens", "kind", "prompt"): counters.prompt_tokens,
        ("teacher_tokens", "kind", "completion"): counters.completion_tokens,
        ("teacher_usd",): counters.usd,
    }
    for endpoint in status.endpoints:
        lease = ("teacher_leased_calls", "endpoint", endpoint.name, "use")
        totals[*lease, "started"] = endpoint.leased - endpoint.given_back
        totals[*lease, "given_back"] = endpoint.given_back
    for (augmentation, verdict), paths in status.paths.items():
        totals["paths", "augmentation", augmentation, "verdict", verdict] = paths
    return totals


def _levels(endpoint: EndpointStatus) -> dict[str, float]:
    return {
        "in_flight": endpoint.in_flight,
        "allowed_per_minute": (endpoint.rpm or 0.0) * endpoint.rate_factor,
        "paused_seconds": endpoint.paused_s,
        "is_out": float(endpoint.out is not None),
    }


def _pairs(tags: list[str]) -> list[tuple[str, str]]:
    return list(zip(tags[::2], tags[1::2], strict=True))
