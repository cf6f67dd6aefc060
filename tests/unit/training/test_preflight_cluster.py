"""What a running Ray cluster lacks for a training, and what its workers get."""

from collections.abc import Callable
from typing import Any

import pytest

from metamath_ray.training import (
    PreflightError,
    TrainOptions,
    _machine,
    _preflight,
    check_running_cluster,
    check_training,
)
from metamath_ray.training._machine import Machine, check_cluster

Make = Callable[..., TrainOptions]


class FakeRay:
    """Ray's module as far as it is asked."""

    def __init__(self, *nodes: dict[str, float]) -> None:
        self._nodes = nodes or ({"CPU": 8.0, "GPU": 1.0},)

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {name: sum(node.get(name, 0) for node in self._nodes) for name in ("CPU", "GPU")}

    def nodes(self) -> list[dict[str, Any]]:
        gone = {"Alive": False, "Resources": {"CPU": 999.0, "GPU": 99.0}}
        return [gone, *({"Alive": True, "Resources": node} for node in self._nodes)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_workers": 2, "device": {"kind": "gpu", "cpus_per_worker": 1}}, "the Ray cluster has 1"),
        ({"num_workers": 2, "device": {"kind": "cpu", "cpus_per_worker": 5}}, "the Ray cluster has 8"),
    ],
    ids=["gpus", "cores"],
)
def test_a_cluster_that_is_too_small_is_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.setitem(_machine.sys.modules, "ray", FakeRay())
    (fault,) = check_cluster(make(**change))
    assert message in fault


def test_workers_that_fit_on_no_node_are_refused_although_the_cores_add_up(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_machine.sys.modules, "ray", FakeRay({"CPU": 3.0}, {"CPU": 3.0}))
    (fault,) = check_cluster(
        make(num_workers=3, micro_batch_size=1, global_batch_size=3, device={"cpus_per_worker": 2})
    )
    assert "has 6 on 2 nodes, room for 2 such workers" in fault


@pytest.mark.parametrize(
    ("nodes", "num_workers", "kind", "cpus"),
    [
        ([{"CPU": 2.0}], 1, "cpu", 2),
        ([{"CPU": 2.0}], 2, "cpu", 1),
        ([{"CPU": 10.0}, {"CPU": 2.0}], 2, "cpu", 5),
        ([{"CPU": 8.0}, {"CPU": 8.0}, {"CPU": 8.0}], 2, "cpu", 8),
        ([{"CPU": 2.0}], 4, "cpu", 1),
        ([{"CPU": 4.0}, {"CPU": 96.0, "GPU": 8.0}], 8, "gpu", 8),
        ([{"CPU": 4.0}, {"CPU": 12.0, "GPU": 4.0}], 4, "gpu", 3),
    ],
    ids=[
        "one",
        "two",
        "uneven-nodes",
        "more-nodes-than-workers",
        "too-many",
        "gpus-and-a-cpu-head",
        "few-cores-a-gpu",
    ],
)
def test_a_worker_gets_the_largest_share_that_fits_on_the_nodes(
    make: Make, monkeypatch: pytest.MonkeyPatch, nodes: list[Any], num_workers: int, kind: str, cpus: int
) -> None:
    monkeypatch.setitem(_machine.sys.modules, "ray", FakeRay(*nodes))
    options = make(num_workers=num_workers, micro_batch_size=1, global_batch_size=8, device={"kind": "auto"})
    device = _machine.settle_device(options).device
    assert (device.kind, device.cpus_per_worker) == (kind, cpus)


HEAD = Machine(cpu_cores=2, memory_bytes=16 * 2**30)
OFFLOAD = {"kind": "auto", "offload_optimizer": "cpu"}


def test_what_auto_means_is_the_clusters_to_say(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    options = make(num_workers=1, device=OFFLOAD)
    with pytest.raises(PreflightError, match="leave them at none on CPU"):
        check_training(options, machine=HEAD)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    check_training(options, machine=HEAD)
    monkeypatch.setitem(_machine.sys.modules, "ray", FakeRay())
    check_running_cluster(options)
    monkeypatch.setitem(_machine.sys.modules, "ray", FakeRay({"CPU": 8.0}))
    with pytest.raises(PreflightError, match="leave them at none on CPU"):
        check_running_cluster(options)


def test_gpus_that_ray_finds_and_torch_does_not_are_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_machine.sys.modules, "ray", FakeRay())
    monkeypatch.setattr(_preflight, "look_at_machine", lambda: HEAD)
    with pytest.raises(PreflightError, match=r"device\.kind gpu needs a CUDA build of torch"):
        check_running_cluster(make(num_workers=1, device={"kind": "auto"}))
