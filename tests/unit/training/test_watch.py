"""What the watchers show: every step once, also after a resume. MLflow and W&B for real where installed."""

import importlib.util
import json
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metamath_ray.training import TrainOptions
from metamath_ray.training._preflight import PreflightError, check_training
from metamath_ray.training._watch import Watchers, check_watchers

from .test_metrics_log import make_step

needs_mlflow = pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="mlflow is not installed")
needs_wandb = pytest.mark.skipif(not importlib.util.find_spec("wandb"), reason="wandb is not installed")


def run_twice(options: TrainOptions, output: Path) -> None:
    """Six steps, killed; on from the checkpoint of step 4 to step 8."""
    with Watchers(options, output, resumed_step=0) as watchers:
        for step in range(1, 7):
            watchers.write(make_step(step))
    with Watchers(options, output, resumed_step=4) as watchers:
        for step in range(5, 9):
            watchers.write(make_step(step))


def shown_by_tensorboard(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Tag, step and value of what TensorBoard shows: a session's start purges what is at its step or later."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    shown: list[tuple[str, int, float]] = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            if event.session_log.status == SessionLog.START:
                shown = [one for one in shown if one[1] < event.step]
            shown += [(one.tag, event.step, one.simple_value) for one in event.summary.value]
    yield from shown


def test_tensorboard_shows_each_step_of_a_resumed_run_once(tmp_path: Path) -> None:
    run_twice(TrainOptions(), tmp_path)
    shown = list(shown_by_tensorboard(tmp_path / "tensorboard"))
    assert [step for tag, step, _ in shown if tag == "train/loss"] == list(range(1, 9))
    assert Counter(step for _, step, _ in shown) == dict.fromkeys(range(1, 9), 7)


def test_tensorboard_has_every_scalar_that_is_known(tmp_path: Path) -> None:
    with Watchers(TrainOptions(), tmp_path, resumed_step=0) as watchers:
        watchers.write(make_step(1))
    shown = {tag: value for tag, _, value in shown_by_tensorboard(tmp_path / "tensorboard")}
    assert shown == pytest.approx(
        {
            "train/loss": 4 / 3,
            "train/learning_rate": 2e-5,
            "train/grad_norm": 1.5,
            "train/epoch": 0.1,
            "throughput/tokens_per_s": 10_000,
            "throughput/response_tokens_per_s": 6_000,
            "memory/peak_bytes": 1 << 30,
        }
    )


def test_tensorboard_alone_imports_neither_of_the_others(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from metamath_ray.training import TrainOptions;"
        "from metamath_ray.training._watch import Watchers, check_watchers; assert not [*check_watchers(TrainOptions())];"
        f"Watchers(TrainOptions(), pathlib.Path({str(tmp_path)!r}), 0).close();"
        "assert not {'mlflow', 'wandb', 'tensorboard'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_one_line_with_the_command_that_installs_it(
    name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: None)
    (line,) = check_watchers(TrainOptions(watchers=(name,)))
    assert line == f"watchers: {name} is not installed; run `pip install {name}`, or take it out of watchers"


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_fails_the_preflight(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: None if wanted == name else found(wanted))
    with pytest.raises(PreflightError, match=f"watchers: {name} is not installed"):
        check_training(TrainOptions(watchers=(name,)))


def test_damaged_ids_are_named(tmp_path: Path) -> None:
    (tmp_path / "watchers.json").write_text("{")
    with pytest.raises(ValueError, match=r"watchers\.json is no JSON .* delete it"):
        Watchers(TrainOptions(), tmp_path, resumed_step=0)


@pytest.fixture
def mlflow_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """MLflow's store of files: it needs no database, so that mlflow-skinny will do."""
    uri = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return uri


@needs_mlflow
def test_mlflow_keeps_one_run_with_each_step_once(tmp_path: Path, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    options = TrainOptions(watchers=("mlflow",), num_workers=2)
    assert list(check_watchers(options)) == []
    run_twice(options, tmp_path)
    client = MlflowClient(tracking_uri=mlflow_uri)
    experiment = client.get_experiment_by_name("metamath_ray")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["num_workers"] == "2"
    assert run.data.params["checkpoint.every_steps"] == "50"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted((one.step, one.value) for one in history) == [(s, make_step(s).loss) for s in range(1, 9)]


@needs_mlflow
def test_mlflow_goes_on_with_other_run_options(tmp_path: Path, mlflow_uri: str) -> None:
    for workers in (1, 2):
        Watchers(TrainOptions(watchers=("mlflow",), num_workers=workers), tmp_path, resumed_step=0).close()
    assert json.loads((tmp_path / "watchers.json").read_text())["mlflow"]["tracking_uri"] == mlflow_uri


@needs_mlflow
def test_an_mlflow_run_that_is_gone_is_one_line(tmp_path: Path, mlflow_uri: str) -> None:
    ids = {"mlflow": {"id": "0" * 32, "tracking_uri": mlflow_uri}}
    (tmp_path / "watchers.json").write_text(json.dumps(ids))
    with pytest.raises(ValueError, match=r"mlflow at file.*not found.*watchers\.json.*delete it") as caught:
        Watchers(TrainOptions(watchers=("mlflow",)), tmp_path, resumed_step=0)
    assert "\n" not in str(caught.value)


@needs_wandb
def test_wandb_offline_keeps_the_runs_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    options = TrainOptions(watchers=("wandb",))
    assert list(check_watchers(options)) == []
    run_twice(options, tmp_path)
    run_id = json.loads((tmp_path / "watchers.json").read_text())["wandb"]["id"]
    assert list((tmp_path / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"))


@needs_wandb
def test_wandb_without_a_key_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    (line,) = check_watchers(TrainOptions(watchers=("wandb",)))
    assert line.startswith("watchers: wandb has no key; run `wandb login`")
