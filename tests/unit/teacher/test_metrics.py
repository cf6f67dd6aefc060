"""What Prometheus is told, read from the endpoint that it would read."""

import os
import re
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from metamath_ray.teacher import Counters, Reject, Retry, Stop, TeacherOptions, start_governor
from metamath_ray.teacher._client import Completion
from metamath_ray.teacher._demands import Demand, EndpointReport
from metamath_ray.teacher._metrics import CallMeter, name_outcome

URL = "http://127.0.0.1:1/v1"
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        _system_config={"metrics_report_interval_ms": 500},
    )
    yield ray
    ray.shutdown()


def read_metrics(ray: Any) -> dict[tuple[str, ...], float]:
    """Our metrics by name and the values of their own tags; a second source of one is added to it."""
    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=30) as response:
        text = response.read().decode()
    found: dict[tuple[str, ...], float] = {}
    for name, tags, value in re.findall(r"^ray_metamath_ray_(\w+){(.*)} (\S+)$", text, re.MULTILINE):
        own = dict(re.findall(r'(\w+)="([^"]*)"', tags))
        key = (name.removesuffix("_total"), *(own[tag] for tag in ("endpoint", "outcome", "use", "kind", "augmentation", "verdict", "le") if tag in own))  # fmt: skip
        found[key] = found.get(key, 0.0) + float(value)
    return found


@pytest.mark.slow
def test_prometheus_is_told_of_calls_leases_tokens_money_and_paths(ray: Any):
    options = TeacherOptions(base_url=URL, rpm=600)
    governor = start_governor(options, run_id="metrics", budget_usd=None, spent_usd=0.0)
    governor.add_verdicts({("fobar", "correct"): 3, ("rephrasing", "correct"): 1, ("fobar", "incorrect"): 2})
    counters = Counters(calls_made=4, calls_reused=5, prompt_tokens=700, completion_tokens=300, usd=0.25)

    @ray.remote(num_cpus=0)
    class Worker:
        def __init__(self) -> None:
            self.meter = CallMeter()

        def call(self) -> None:
            for answer in (
                Completion((), 0, 0),
                Completion((), 0, 0),
                Retry("http_429"),
                Retry("connection: reset"),
            ):
                self.meter.call(URL, answer, 0.3)

    worker = Worker.remote()
    ray.get(worker.call.remote())
    wanted = {
        ("teacher_samples_reused",): 5.0,
        ("teacher_tokens", "prompt"): 700.0,
        ("teacher_tokens", "completion"): 300.0,
        ("teacher_usd",): 0.25,
        ("teacher_in_flight", URL): 2.0,
        ("teacher_allowed_per_minute", URL): 600.0,
        ("teacher_is_out", URL): 0.0,
        ("paths", "fobar", "correct"): 3.0,
        ("paths", "fobar", "incorrect"): 2.0,
        ("paths", "rephrasing", "correct"): 1.0,
        ("teacher_call_seconds_count", URL, "reply"): 2.0,
        ("teacher_call_seconds_count", URL, "http_429"): 1.0,
        ("teacher_call_seconds_count", URL, "connection"): 1.0,
        ("teacher_call_seconds_bucket", URL, "reply", "0.5"): 2.0,
    }
    end = time.monotonic() + PATIENCE_S
    found: dict[tuple[str, ...], float] = {}
    started = ("teacher_leased_calls", URL, "started")
    while not (wanted.items() <= found.items() and started in found) and time.monotonic() < end:
        report = EndpointReport(in_flight=2, calls=4, tokens=1000, tokens_squared=250_000)
        ray.get(governor.actor.lease.remote("w", Demand(10, (report,), counters)))
        time.sleep(0.3)
        found = read_metrics(ray)
    assert {key: found.get(key) for key in wanted} == wanted
    assert found[started] > 0
    governor.close()


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (Completion((), 1, 1), "reply"),
        (Retry("timeout"), "timeout"),
        (Retry("connection: [Errno 104] reset by peer"), "connection"),
        (Reject("400: too long"), "rejected"),
        (Stop("no key"), "stopped"),
        (None, "cancelled"),
    ],
    ids=str,
)
def test_an_outcome_has_one_of_few_names(answer, name):
    assert name_outcome(answer) == name
