"""What becomes of an application when Serve, a replica or the driver dies: stand-ins for Serve's answers."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray import serve
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.serve.exceptions import RayServeException

from metamath_ray.evaluation import EngineStartError, _replica, failure_of
from metamath_ray.evaluation._application import _describe, _take_down


def raise_(error: Exception) -> Callable[..., Any]:
    def act(*_: Any, **__: Any) -> Any:
        raise error

    return act


def application(status: str, *, running: int) -> Any:
    deployment = SimpleNamespace(message="no memory", replica_states={"RUNNING": running} if running else {})
    return SimpleNamespace(status=status, message="", deployments={"engine": deployment})


@pytest.mark.parametrize(
    ("applications", "reason"),
    [
        pytest.param({}, "the application is gone", id="gone"),
        pytest.param({"a": application("DEPLOY_FAILED", running=0)}, "no memory", id="failed"),
        pytest.param({"a": application("DEPLOY_FAILED", running=1)}, None, id="one-left"),
        pytest.param({"a": application("DEPLOYING", running=0)}, None, id="comes-back"),
    ],
)
def test_an_application_is_lost_when_no_replica_runs_or_comes_back(
    monkeypatch: pytest.MonkeyPatch, applications: dict[str, Any], reason: str | None
) -> None:
    monkeypatch.setattr(serve, "status", lambda: SimpleNamespace(applications=applications))
    assert failure_of("a") == reason


def test_a_controller_that_is_started_again_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "status", raise_(ActorUnavailableError("Serve's controller restarts", None)))
    assert failure_of("a") is None


@pytest.mark.parametrize("error", [ActorDiedError(), RayServeException("no Serve")], ids=["ray", "serve"])
def test_an_end_without_serve_is_said_and_hides_no_other_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(serve, "delete", raise_(error))
    _take_down("a", timeout_s=1)
    assert caplog.messages[0].startswith("application a could not be taken down: ")


def test_a_replica_that_dies_once_it_is_ready_did_not_start() -> None:
    response = SimpleNamespace(result=raise_(ActorDiedError()))
    handle = SimpleNamespace(describe=SimpleNamespace(remote=lambda: response))
    with pytest.raises(EngineStartError, match="it was ready, and then gave no answer"):
        _describe(handle)


@pytest.mark.parametrize(
    ("owner", "asked"), [("owner-1", ["owner-1"]), ("", [])], ids=["driver", "no-driver"]
)
def test_only_an_application_with_a_driver_ends_with_it(
    monkeypatch: pytest.MonkeyPatch, owner: str, asked: list[str]
) -> None:
    async def lives() -> None:
        return

    looked: list[str] = []
    monkeypatch.setattr(_replica, "delete_if_abandoned", looked.append)
    replica = _replica.Replica.__new__(_replica.Replica)
    replica._owner, replica._is_warm = owner, True
    replica._engine = SimpleNamespace(end_if_dead=lives, shutdown=lambda: None)
    asyncio.run(replica.check_health())
    assert looked == asked
