"""The Serve application: start it, wait until it is ready or has failed, and take it down again."""

import logging
import os
import re
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from metamath_ray.evaluation._background import ask_for_calm, yield_to_engines
from metamath_ray.evaluation._options import ModelOptions
from metamath_ray.evaluation._replica import (
    NAMESPACE,
    EngineStartError,
    HttpReplica,
    Owner,
    Replica,
    one_line,
)
from metamath_ray.evaluation._setup import Device, EngineSetup
from metamath_ray.start_ray import start_ray

logger = logging.getLogger(__name__)

DEPLOYMENT = "engine"

_POLL_S = 0.5
_HEALTH_PERIOD_S = 5.0
_HEALTH_TIMEOUT_S = 60.0  # a replica on a busy machine may be slow to say that it lives
_ROOM = 4  # requests that a replica takes for each that its engine decodes: vLLM queues the rest
_GRACE_S = 30.0  # the engine's own deadline comes first: it knows why
_OTHERS_DRAIN_S = 120.0
_REASON = re.compile(r"EngineStartError(?:\([^)]*\))?: ?(.+)")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an application is reached over HTTP. `key_sha256` is empty where no key is asked for."""

    host: str
    port: int
    served_name: str
    key_sha256: str


@dataclass(frozen=True, slots=True)
class Application:
    """A running application: Serve's handle, and what its first engine says of itself."""

    handle: Any
    engine: dict[str, Any]


def start_ray_for_serve() -> None:
    """Ray, ready for Serve; nothing is started where Ray runs."""
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "120")  # 15 s is short on a busy machine
    if not _is_ray_initialized():
        if os.environ.get("RAY_ADDRESS", "") in ("", "local"):
            ask_for_calm()
        start_ray(shows_worker_output=False)
    from ray import serve  # noqa: F401  # sets its logger up, which is then made quiet

    logging.getLogger("ray.serve").setLevel(logging.ERROR)


def _is_ray_initialized() -> bool:
    """Without importing Ray: how it authenticates is read at its import, and `start_ray` says it before."""
    return "ray" in sys.modules and sys.modules["ray"].is_initialized()


def place_engines(options: ModelOptions, *, model: str, adapter: str) -> EngineSetup:
    """The engines that the options ask for on this cluster; `model` and `adapter` as resolved.

    `device` auto takes GPUs if there are any. Raises `ValueError` where the cluster can't hold all replicas.
    """
    import ray

    device = options.engine.device
    if device == "auto":
        device = "gpu" if ray.cluster_resources().get("GPU", 0) else "cpu"
    if options.batch_invariant and device == "cpu":
        raise ValueError("batch_invariant works on GPUs only, and the cluster has none; give exact")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return EngineSetup(
        model=model,
        adapter=adapter,
        device=device,
        cpus=_share_cpus(options, device, nodes),
        tensor_parallel_size=options.tensor_parallel_size,
        exact=options.exact,
        batch_invariant=options.batch_invariant,
        options=options.engine,
    )


def _share_cpus(options: ModelOptions, device: Device, nodes: list[dict[str, float]]) -> int:
    """Cores of one replica: those asked for; one beside GPUs; else as many as let all replicas in."""
    asked, replicas = options.engine.cpus_per_replica, options.replicas
    kind = "GPU" if device == "gpu" else "CPU"
    each = options.tensor_parallel_size if device == "gpu" else asked or options.tensor_parallel_size
    has = [int(node.get(kind, 0)) for node in nodes]
    if sum(number // each for number in has) < replicas:
        raise ValueError(
            f"replicas {replicas} need {each} {kind}s each; the nodes of the cluster have {', '.join(map(str, has))}"
        )
    if asked or device == "gpu":
        return asked or 1
    return next(cpus for cpus in range(max(has), 0, -1) if sum(number // cpus for number in has) >= replicas)


@contextmanager
def run_application(
    setup: EngineSetup, *, replicas: int, name: str, endpoint: Endpoint | None = None, drain_s: float = 5.0
) -> Iterator[Application]:
    """The application while it is used: started and ready, and at the end drained and taken down.

    Requests that run at the end have `drain_s` to come to theirs. One of the same name, such as a killed run left
    on a shared cluster, is replaced. Raises `EngineStartError`.
    """
    import ray
    from ray import serve

    _start_serve(endpoint)
    owner = f"owner-{uuid.uuid4().hex}"
    actor = ray.remote(Owner).options(name=owner, namespace=NAMESPACE, num_cpus=0, max_restarts=-1).remote()
    try:
        target = serve.RunTarget(
            bind_application(setup, owner, replicas=replicas, endpoint=endpoint, drain_s=drain_s),
            name=name,
            route_prefix="/" if endpoint else None,
        )
        if name in serve.status().applications:
            _take_down(name, timeout_s=_OTHERS_DRAIN_S)
        (handle,) = serve.run_many([target], wait_for_applications_running=False)
        _wait_until_running(name, setup.options.start_timeout_s + _GRACE_S)
        yield_to_engines()
        yield Application(handle, _describe(handle))
    finally:
        _take_down(name, timeout_s=drain_s + _GRACE_S)
        ray.kill(actor)


def failure_of(name: str) -> str | None:
    """Why an application can no more answer; None while a replica, or Serve's controller, runs or comes back."""
    from ray import serve
    from ray.exceptions import RayError

    try:
        status = serve.status().applications.get(name)
    except RayError:  # the controller is being started again
        return None
    if status is None:
        return "the application is gone"
    is_alive = any(deployment.replica_states.get("RUNNING") for deployment in status.deployments.values())
    return _reason(status) if status.status == "DEPLOY_FAILED" and not is_alive else None


def _take_down(name: str, *, timeout_s: float) -> None:
    """Return when the application is gone. Serve's own waiting ends with an error after 60 s, whatever the drain."""
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    deadline = time.monotonic() + timeout_s
    try:
        serve.delete(name, _blocking=False)
        while name in serve.status().applications:
            if time.monotonic() > deadline:
                logger.warning("application %s was still there %.0f s after it was to end", name, timeout_s)
                return
            time.sleep(_POLL_S)
    except (
        RayError,
        RayServeException,
    ) as error:  # Serve is gone, or all of Ray: why we end is told elsewhere
        logger.warning("application %s could not be taken down: %s", name, one_line(error))


def _start_serve(endpoint: Endpoint | None) -> None:
    from ray import serve

    if endpoint is None:
        serve.start(proxy_location="Disabled")
    else:
        serve.start(
            proxy_location="HeadOnly", http_options=serve.HTTPOptions(host=endpoint.host, port=endpoint.port)
        )
        _check_listens_there(endpoint)


def _check_listens_there(endpoint: Endpoint) -> None:
    """Raise `ValueError` where Serve ran on this cluster already, and keeps the address that it was started with."""
    from ray.serve.context import _get_global_client  # no public way to ask

    has = _get_global_client().http_config
    if (has.host, has.port) != (endpoint.host, endpoint.port):
        raise ValueError(
            f"Ray Serve runs on this cluster already and listens on {has.host}:{has.port}: give that host and port"
        )


def bind_application(
    setup: EngineSetup, owner: str, *, replicas: int, endpoint: Endpoint | None, drain_s: float
) -> Any:
    """Serve's application, started by nobody yet; `owner` as `Replica` takes it."""
    from ray import serve

    num_gpus = setup.tensor_parallel_size if setup.device == "gpu" else 0
    deployment = serve.deployment(
        serve.ingress()(HttpReplica) if endpoint else Replica,
        name=DEPLOYMENT,
        num_replicas=replicas,
        max_ongoing_requests=setup.options.max_num_seqs * _ROOM,
        max_constructor_retry_count=1,  # what keeps an engine from starting keeps it from starting again
        health_check_period_s=_HEALTH_PERIOD_S,
        health_check_timeout_s=_HEALTH_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=drain_s,
        ray_actor_options={"num_cpus": setup.cpus, "num_gpus": num_gpus},
        placement_group_bundles=[{"CPU": setup.cpus} | ({"GPU": num_gpus} if num_gpus else {})],
        placement_group_strategy="STRICT_PACK",
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    if endpoint is None:
        return deployment.bind(setup, owner)
    return deployment.bind(setup, owner, endpoint.served_name, endpoint.key_sha256)


def _wait_until_running(name: str, timeout_s: float) -> None:
    from ray import serve

    deadline = time.monotonic() + timeout_s
    while True:
        status = serve.status().applications.get(name)
        if status is None:
            raise EngineStartError("its application was taken down while it started")
        if status.status == "RUNNING":
            return
        if status.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise EngineStartError(_reason(status))
        if time.monotonic() > deadline:
            raise EngineStartError(f"no engine was ready after {timeout_s:.0f} s: {_reason(status)}")
        time.sleep(_POLL_S)


def _describe(handle: Any) -> dict[str, Any]:
    """What an engine says of itself; `EngineStartError` where the first one to be ready has died since."""
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    try:
        engine: dict[str, Any] = handle.describe.remote().result(timeout_s=_HEALTH_TIMEOUT_S)
    except (RayError, RayServeException, TimeoutError) as error:
        raise EngineStartError(f"it was ready, and then gave no answer: {one_line(error)}") from None
    return engine


def _reason(status: Any) -> str:
    """The engine's own words in what Serve says of an application, or all that Serve says."""
    messages = [deployment.message for deployment in status.deployments.values()]
    text = "\n".join([*messages, status.message])
    reasons = _REASON.findall(text)
    return " ".join((reasons[-1] if reasons else text).split())[:600] or str(status.status)
