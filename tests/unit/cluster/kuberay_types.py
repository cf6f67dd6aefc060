"""KubeRay's three resources as types, kept by hand, around Kubernetes' own from `lightkube-models`.

No package registry has the published schemas of the CRDs. The fields are those of the `ray.io/v1` API as its Go types
and the "KubeRay CRD API reference" of Ray's documentation have them (releases 1.6 and 1.7), of which these are the
ones that this project uses; any other is refused.
"""

from typing import Any, Literal

import msgspec
from lightkube.models.core_v1 import PodTemplateSpec, ResourceRequirements, SecurityContext
from lightkube.models.meta_v1 import ObjectMeta


class Strict(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A field that is not named is an error."""


class AuthOptions(Strict):
    mode: Literal["disabled", "token"]
    secret_name: str = ""


class AutoscalerOptions(Strict):
    resources: ResourceRequirements | None = None
    security_context: SecurityContext | None = None
    idle_timeout_seconds: int | None = None


class HeadGroupSpec(Strict):
    ray_start_params: dict[str, str]
    template: PodTemplateSpec
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"


class WorkerGroupSpec(Strict):
    group_name: str
    ray_start_params: dict[str, str]
    template: PodTemplateSpec
    replicas: int
    min_replicas: int
    max_replicas: int


class RayClusterSpec(Strict):
    head_group_spec: HeadGroupSpec
    worker_group_specs: list[WorkerGroupSpec]
    ray_version: str
    auth_options: AuthOptions
    enable_in_tree_autoscaling: bool = False
    autoscaler_options: AutoscalerOptions | None = None


class RayJobSpec(Strict):
    entrypoint: str
    cluster_selector: dict[str, str]
    submission_mode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]


class RayServiceSpec(Strict):
    ray_cluster_config: RayClusterSpec
    serve_config: str = msgspec.field(name="serveConfigV2")


class Resource(Strict):
    """What all three have; `spec` by kind."""

    api_version: Literal["ray.io/v1"]
    kind: Literal["RayCluster", "RayJob", "RayService"]
    metadata: ObjectMeta
    spec: Any


SPECS: dict[str, type[Any]] = {
    "RayCluster": RayClusterSpec,
    "RayJob": RayJobSpec,
    "RayService": RayServiceSpec,
}


def check(document: Any, kind: Any) -> Any:
    """The document as its type; `ValueError` for a wrong type, a field that is missing, and one that nobody knows."""
    found = msgspec.convert(document, kind, strict=True)
    if lost := list(_lost(document, msgspec.to_builtins(found), "")):
        raise ValueError(f"no such field: {', '.join(lost)}")
    return found


def _lost(given: Any, kept: Any, place: str) -> Any:
    """The fields that the types of Kubernetes, which ignore what they don't know, have dropped."""
    if isinstance(given, dict):
        for name, value in given.items():
            here = f"{place}.{name}"
            if not isinstance(kept, dict) or name not in kept:
                yield here
            else:
                yield from _lost(value, kept[name], here)
    elif isinstance(given, list):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from _lost(one, other, f"{place}[{number}]")
