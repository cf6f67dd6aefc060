"""The served model as an application of Serve's own configuration files, which KubeRay's RayService takes."""

from pathlib import Path
from typing import Any

from metamath_ray.evaluation._application import Endpoint, bind_application
from metamath_ray.evaluation._gate import hash_key
from metamath_ray.evaluation._serve_options import ServeOptions
from metamath_ray.evaluation._setup import EngineSetup, resolve_adapter, resolve_model


def serving_application(options: ServeOptions) -> Any:
    """What `import_path: metamath_ray.evaluation:serving_application` gives; `args` are serve_model's options.

    Serve itself listens where its `http_options` say: `host` says here whether a key is needed. No node with a GPU
    may be there yet to look at, so `engine.device` must be named. Raises `ValueError`.
    """
    device = options.engine.device
    if device == "auto":
        raise ValueError("engine.device must be cpu or gpu, got auto: the nodes may not be there yet")
    if device == "cpu" and options.engine.cpus_per_replica is None:
        raise ValueError("engine.cpus_per_replica must be given: the nodes may not be there yet")
    setup = EngineSetup(
        model=resolve_model(options.model),
        adapter=resolve_adapter(options.adapter),
        device=device,
        cpus=options.engine.cpus_per_replica or 1,
        tensor_parallel_size=options.tensor_parallel_size,
        exact=options.exact,
        batch_invariant=options.batch_invariant,
        options=options.engine,
    )
    name = options.served_name or Path(setup.model).name
    endpoint = Endpoint(options.host, options.port, name, hash_key(options.api_key()))
    return bind_application(
        setup, "", replicas=options.replicas, endpoint=endpoint, drain_s=options.drain_timeout_s
    )
