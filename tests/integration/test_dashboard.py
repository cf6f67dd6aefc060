"""Grafana's dashboard asks for metrics that Prometheus is told: by name, with the labels that it sorts them by."""

import json
import os
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import promql_parser
import pytest

from metamath_ray.evaluation._metrics import AnswerMeter
from metamath_ray.step_metrics import StepMetrics
from metamath_ray.teacher import TeacherOptions, start_governor
from metamath_ray.teacher._client import Completion
from metamath_ray.teacher._demands import Counters, Demand, EndpointReport
from metamath_ray.teacher._faults import Retry
from metamath_ray.teacher._metrics import CallMeter
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._watch import Watchers

DASHBOARD = json.loads((Path(__file__).resolve().parents[2] / "cluster" / "grafana.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    pytest.param(target["expr"].replace("$__rate_interval", "5m"), target["legendFormat"], id=panel["title"])
    for panel in PANELS
    for target in panel["targets"]
]
PREFIX = "ray_metamath_ray_"
PATIENCE_S = 120.0


def parts_of(expression: Any) -> Iterator[Any]:
    """An expression and all within it."""
    yield expression
    for name in ("expr", "lhs", "rhs", "vector_selector", "vs"):
        if (inner := getattr(expression, name, None)) is not None:
            yield from parts_of(inner)
    for argument in getattr(expression, "args", None) or []:
        yield from parts_of(argument)


def asks_of(query: str) -> dict[str, dict[str, str]]:
    """The metrics that a query reads, each with the label values that it wants."""
    found = {}
    for part in parts_of(promql_parser.parse(query)):
        if isinstance(part, promql_parser.VectorSelector):
            found[part.name] = {one.name: one.value for one in part.matchers.matchers}
    return found


def sorted_by(query: str) -> set[str]:
    return {label for labels in re.findall(r"\bby \(([^)]*)\)", query) for label in labels.split(", ")}


@pytest.mark.parametrize(("query", "legend"), QUERIES)
def test_a_query_is_promql_over_our_metrics(query: str, legend: str) -> None:
    asks = asks_of(query)
    assert asks
    assert all(name.startswith(PREFIX) for name in asks)
    assert set(re.findall(r"{{(\w+)}}", legend)) <= sorted_by(query)


def test_the_dashboard_is_whole_and_none_of_its_panels_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    squares = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(squares)) == len(squares)
    assert max(x for x, _ in squares) < 24


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


def read_metrics(ray: Any) -> list[tuple[str, dict[str, str]]]:
    """Our metrics as Prometheus reads them: names and labels."""
    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=30) as response:
        text = response.read().decode()
    rows = re.findall(rf"^({PREFIX}\w+){{(.*)}} \S+$", text, re.MULTILINE)
    return [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels))) for name, labels in rows]


def step_metrics() -> StepMetrics:
    figures = dict.fromkeys(("step", "tokens", "response_tokens", "padded_tokens", "attempt"), 1)
    floats = ("epoch", "loss", "learning_rate", "grad_norm", "seconds", "time", "mfu")
    return StepMetrics(
        **figures, **dict.fromkeys(floats, 0.5), tokens_per_s=1.0, response_tokens_per_s=1.0, peak_memory_bytes=1,
        rows_digest="0" * 16,
    )  # fmt: skip


@pytest.mark.slow
def test_every_metric_that_a_query_reads_is_told_with_its_labels(ray: Any, tmp_path: Path) -> None:
    """Told by what a build, a training and an evaluation tell it with."""
    url = "http://127.0.0.1:1/v1"
    calls = CallMeter()
    for answer in (Completion((), 0, 0), Retry("http_429")):
        calls.call(url, answer, 0.3)
    governor = start_governor(TeacherOptions(base_url=url, rpm=600), run_id="dashboard", budget_usd=None, spent_usd=0.0)  # fmt: skip
    governor.add_verdicts({("fobar", "correct"): 3, ("fobar", "incorrect"): 2})
    counters = Counters(calls_made=4, calls_reused=5, prompt_tokens=700, completion_tokens=300, usd=0.25)
    meter = AnswerMeter()
    answer = SimpleNamespace(finish_reason="stop", completion_tokens=9)
    meter.arrived(SimpleNamespace(benchmark="gsm8k"), answer)  # type: ignore[arg-type]
    wanted = {(name, label) for param in QUERIES for name, labels in asks_of(str(param.values[0])).items() for label in [*labels, *sorted_by(str(param.values[0]))]}  # fmt: skip
    missing, end = wanted, time.monotonic() + PATIENCE_S
    with Watchers(TrainOptions(model="m", output=tmp_path), tmp_path, 0) as watchers:
        while missing and time.monotonic() < end:
            watchers.write(step_metrics())
            report = EndpointReport(in_flight=2, calls=4, tokens=1000, tokens_squared=250_000)
            ray.get(governor.actor.lease.remote("w", Demand(10, (report,), counters)))
            time.sleep(0.3)
            told = read_metrics(ray)
            missing = {(name, label) for name, label in wanted if not any(name == one and label in labels for one, labels in told)}  # fmt: skip
    assert missing == set()
    values = {(name, label, labels.get(label)) for name, labels in told for label in labels}
    for param in QUERIES:
        for name, labels in asks_of(str(param.values[0])).items():
            assert {(name, label, value) for label, value in labels.items()} <= values
    governor.close()
