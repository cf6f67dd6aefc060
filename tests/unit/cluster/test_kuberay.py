"""The manifests: known to KubeRay and Kubernetes, and safe to apply."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from lightkube.models.core_v1 import Namespace, PersistentVolumeClaim, PodSpec
from lightkube.models.networking_v1 import NetworkPolicy
from ray import serve
from ray.serve.schema import ServeDeploySchema

from metamath_ray.evaluation import ServeOptions

from .kuberay_types import SPECS, RayClusterSpec, Resource, check

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "cluster" / "kuberay"
OURS = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "namespace.yaml")
OTHERS = {
    "Namespace": Namespace,
    "PersistentVolumeClaim": PersistentVolumeClaim,
    "NetworkPolicy": NetworkPolicy,
}
SERVES = {"serve_model"}  # a RayService, the others are RayJobs
LOCAL = {"_python", "demo", "export_ledger"}  # for one machine


def load(path: Path) -> Any:
    resource = check(yaml.safe_load(path.read_text()), Resource)
    return check(resource.spec, SPECS[resource.kind])


def clusters() -> list[Any]:
    return [
        pytest.param(load(FOLDER / "cluster.yaml"), id="cluster"),
        pytest.param(load(FOLDER / "serve.yaml").ray_cluster_config, id="serve"),
    ]


def pods() -> list[Any]:
    """(pod, is of GPUs) of every group."""
    found = []
    for param in clusters():
        (spec,) = param.values
        groups = [("head", spec.head_group_spec), *((one.group_name, one) for one in spec.worker_group_specs)]
        found += [pytest.param(group.template.spec, id=f"{param.id}-{name}") for name, group in groups]
    return found


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_kuberay_knows_a_manifest(path: Path) -> None:
    load(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda d: d["spec"].update(rayVersions="2"), "rayVersions", id="field-of-kuberay"),
        pytest.param(
            lambda d: d["spec"]["headGroupSpec"]["template"]["spec"].update(hostNetworks=True),
            "hostNetworks",
            id="field-of-kubernetes",
        ),
        pytest.param(
            lambda d: d["spec"]["workerGroupSpecs"][0].update(replicas="two"), "replicas", id="type"
        ),
        pytest.param(lambda d: d["spec"].pop("headGroupSpec"), "headGroupSpec", id="missing"),
    ],
)
def test_what_kuberay_does_not_know_is_found(change: Any, says: str) -> None:
    document = yaml.safe_load((FOLDER / "cluster.yaml").read_text())
    change(document)
    with pytest.raises(ValueError, match=says):  # msgspec's errors are ValueErrors, too
        check(check(document, Resource).spec, RayClusterSpec)


def test_namespace_storage_and_network_are_known_and_closed() -> None:
    documents = list(yaml.safe_load_all((FOLDER / "namespace.yaml").read_text()))
    for document in documents:
        check(document, OTHERS[document["kind"]])
    found = {document["kind"]: document.get("spec") for document in documents}
    assert set(found) == set(OTHERS)
    policy = found["NetworkPolicy"]
    assert policy["podSelector"] == {}  # all pods
    assert policy["policyTypes"] == ["Ingress"]
    assert all("ipBlock" not in source for rule in policy["ingress"] for source in rule["from"])
    assert found["PersistentVolumeClaim"]["accessModes"] == ["ReadWriteMany"]


def test_every_job_has_a_manifest_and_goes_to_the_cluster() -> None:
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py")} - LOCAL - SERVES
    cluster = yaml.safe_load((FOLDER / "cluster.yaml").read_text())["metadata"]
    started = set()
    for path in OURS:
        document = yaml.safe_load(path.read_text())
        assert document["metadata"]["namespace"] == cluster["namespace"]
        if document["kind"] == "RayJob":
            started.add(Path(document["spec"]["entrypoint"].split()[1]).stem)
            assert document["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["name"]}
    assert started == jobs


@pytest.mark.parametrize("spec", clusters())
def test_a_cluster_asks_for_a_token_and_has_no_public_port(spec: RayClusterSpec) -> None:
    assert spec.ray_version == ray.__version__
    assert spec.auth_options.mode == "token"
    assert spec.auth_options.secret_name
    assert spec.head_group_spec.service_type == "ClusterIP"
    assert spec.head_group_spec.ray_start_params["num-cpus"] == "0"


@pytest.mark.parametrize("pod", pods())
def test_a_pod_runs_without_rights_with_probes_and_shared_memory(pod: PodSpec) -> None:
    assert pod.securityContext.runAsNonRoot
    assert not any((pod.hostNetwork, pod.hostPID, pod.hostIPC))
    (container,) = pod.containers
    assert container.securityContext.capabilities.drop == ["ALL"]
    assert not container.securityContext.privileged
    assert not container.securityContext.allowPrivilegeEscalation
    assert container.startupProbe
    assert container.readinessProbe
    assert container.livenessProbe
    assert all(not port.hostPort for port in container.ports)
    volumes = {volume.name: volume for volume in pod.volumes}
    mounts = {mount.mountPath: volumes[mount.name] for mount in container.volumeMounts}
    assert mounts["/dev/shm"].emptyDir.medium == "Memory"
    assert mounts["/data"].persistentVolumeClaim.claimName == "metamath-ray"


@pytest.mark.parametrize("pod", pods())
def test_a_pod_gets_what_it_asks_for_and_secrets_by_reference(pod: PodSpec) -> None:
    (container,) = pod.containers
    asked, limits = container.resources.requests, container.resources.limits
    assert asked["memory"] == limits["memory"]
    assert asked.get("nvidia.com/gpu") == limits.get("nvidia.com/gpu")
    assert bool(asked.get("nvidia.com/gpu")) is any("gpu" in (one.key or "") for one in pod.tolerations or [])
    for variable in container.env or []:
        is_secret = any(word in variable.name for word in ("KEY", "TOKEN", "SECRET"))
        assert bool(variable.valueFrom and variable.valueFrom.secretKeyRef) is is_secret, variable.name


def test_only_the_build_is_on_spot() -> None:
    spec = load(FOLDER / "cluster.yaml")
    on_spot = {group.group_name for group in spec.worker_group_specs if "spot" in str(group.template.spec)}
    assert on_spot == {"build"}


def test_serve_knows_the_application_and_it_wants_a_key(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    config = ServeDeploySchema.model_validate(yaml.safe_load(load(FOLDER / "serve.yaml").serve_config))
    (application,) = config.applications
    module, name = application.import_path.split(":")
    build = getattr(importlib.import_module(module), name)
    args = application.args | {"model": str(tiny_model)}
    monkeypatch.delenv("METAMATH_RAY_SERVE_KEY", raising=False)
    with pytest.raises(ValueError, match="METAMATH_RAY_SERVE_KEY"):
        ServeOptions.model_validate(args)
    monkeypatch.setenv("METAMATH_RAY_SERVE_KEY", "secret")
    assert isinstance(build(ServeOptions.model_validate(args)), serve.Application)


@pytest.mark.parametrize(
    ("engine", "says"),
    [({"device": "auto"}, "engine.device"), ({"device": "cpu"}, "engine.cpus_per_replica")],
    ids=["device", "cpus"],
)
def test_an_application_without_nodes_to_look_at_must_be_told(engine: dict[str, Any], says: str) -> None:
    build = importlib.import_module("metamath_ray.evaluation").serving_application
    with pytest.raises(ValueError, match=says):
        build(ServeOptions.model_validate({"model": "m", "engine": engine}))
