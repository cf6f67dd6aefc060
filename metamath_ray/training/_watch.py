"""TensorBoard and Ray's metrics always, MLflow and Weights & Biases when asked: the same scalars of every step."""

import importlib.util
import json
import logging
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from metamath_ray.run_folder import write_whole
from metamath_ray.step_metrics import StepMetrics
from metamath_ray.training._options import TrainOptions, Watcher

_LOG = logging.getLogger(__name__)

PROJECT = "metamath_ray"
"""The experiment (MLflow) or project (W&B) of the runs, unless the watcher's own environment variable names one."""

_TAGS = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/grad_norm",
    "epoch": "train/epoch",
    "tokens_per_s": "throughput/tokens_per_s",
    "response_tokens_per_s": "throughput/response_tokens_per_s",
    "mfu": "throughput/mfu",
    "peak_memory_bytes": "memory/peak_bytes",
}


def check_watchers(options: TrainOptions) -> Iterator[str]:
    """A line, with the `pip` command, where the package of a watcher asked for is not installed here, or W&B has
    neither key nor offline mode; part of the preflight.

    Worker 0 writes to the watchers: on a cluster its node needs the package too, and the environment (WANDB_API_KEY,
    MLFLOW_TRACKING_URI), which is not looked at here.
    """
    missing = [name for name in options.watchers if importlib.util.find_spec(name) is None]
    for name in missing:
        yield f"watchers: {name} is not installed; run `pip install {name}`, or take it out of watchers"
    is_online = os.environ.get("WANDB_MODE", "online") == "online"
    if "wandb" in set(options.watchers) - set(missing) and is_online:
        import wandb  # heavy, and often not there

        if not wandb.login(prompt=False):
            yield "watchers: wandb has no key; run `wandb login`, set WANDB_API_KEY, or set WANDB_MODE=offline"


class Watchers:
    """All watchers of one run; for rank 0 alone. A context manager.

    A run that goes on after a checkpoint goes on with the same MLflow run and W&B id (kept in
    `output/watchers.json`), and no step is there twice. Neither can end a run: MLflow's calls go out from a thread,
    W&B's from a process of its own; what MLflow refused is one warning at the end. Raises `ValueError` where a
    watcher can't be started.
    """

    def __init__(self, options: TrainOptions, output: Path, resumed_step: int) -> None:
        """`resumed_step`: the last step of the checkpoint that the run goes on from, 0 without one."""
        ids = _Ids(output / "watchers.json")
        self._watches: list[_Watch] = [_TensorBoard(output / "tensorboard", resumed_step)]
        if "ray" in sys.modules and sys.modules["ray"].is_initialized():  # training runs without Ray, too
            self._watches.append(_RayMetrics(output))
        if "mlflow" in options.watchers:
            self._watches.append(_MLflow(options, output, ids))
        if "wandb" in options.watchers:
            self._watches.append(_Wandb(options, output, ids))

    def write(self, metrics: StepMetrics) -> None:
        """Show one step."""
        values = {tag: getattr(metrics, name) for name, tag in _TAGS.items()}
        scalars = {tag: float(value) for tag, value in values.items() if value is not None}
        for watch in self._watches:
            watch.write(metrics.step, metrics.time, scalars)

    def close(self, *, finished: bool = True) -> None:
        """Send what is left; `finished=False` says that the run will go on or has failed."""
        for watch in self._watches:
            watch.close(finished)

    def __enter__(self) -> "Watchers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(finished=kind is None)


class _Watch(Protocol):
    def write(self, step: int, time: float, scalars: Mapping[str, float]) -> None: ...

    def close(self, finished: bool) -> None: ...


class _Ids:
    """What `watchers.json` keeps from one start of the run to the next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._ids: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._ids = {}
        except ValueError as error:
            raise ValueError(f"{path} is no JSON ({error}); delete it to begin new runs") from None

    def get(self, watcher: Watcher, **same: str) -> str | None:
        """The run's id, if it was stored with the same values of `same`."""
        stored = self._ids.get(watcher, {})
        return stored.get("id") if same.items() <= stored.items() else None

    def put(self, watcher: Watcher, run_id: str, **same: str) -> None:
        self._ids[watcher] = {"id": run_id, **same}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json.dumps(self._ids, indent=2) + "\n")


class _TensorBoard:
    def __init__(self, folder: Path, resumed_step: int) -> None:
        from tensorboardX import (
            SummaryWriter,
        )  # torch's own writer needs the tensorboard package, this one nothing

        # what a killed start wrote after the checkpoint is purged; the suffix tells two starts in one second apart
        self._writer = SummaryWriter(
            str(folder), purge_step=resumed_step + 1, filename_suffix=f".{resumed_step:08d}"
        )

    def write(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, step, walltime=time)

    def close(self, finished: bool) -> None:
        self._writer.close()


class _RayMetrics:
    """Gauges of Ray's own, which Prometheus reads; `run` is the output folder with the one that it lies in."""

    def __init__(self, output: Path) -> None:
        from ray.util.metrics import Gauge

        names = ["step", *(tag.rpartition("/")[2] for tag in _TAGS.values())]
        text = "The newest step's {}, over all workers"
        self._gauges = {
            name: Gauge(f"metamath_ray_training_{name}", text.format(name), ("run",)) for name in names
        }
        self._tags = {"run": "/".join(output.resolve().parts[-2:])}

    def write(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        for tag, value in {"step": float(step), **scalars}.items():
            self._gauges[tag.rpartition("/")[2]].set(value, self._tags)

    def close(self, finished: bool) -> None:
        pass


class _MLflow:
    """To the server that MLFLOW_TRACKING_URI names, else to a database in the output folder."""

    def __init__(self, options: TrainOptions, output: Path, ids: _Ids) -> None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._error = MlflowException
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{output.resolve() / 'mlflow.db'}"
        known = ids.get("mlflow", tracking_uri=uri)
        try:
            self._client = MlflowClient(tracking_uri=uri)
            self._run_id = known or self._begin(options, output)
            self._last_step = self._resume() if known else 0
        except MlflowException as error:
            hint = f"; {ids.path} names its run: delete it to begin a new one" if known else ""
            raise ValueError(f"watchers: mlflow at {uri}: {_line(error)}{hint}") from None
        ids.put("mlflow", self._run_id, tracking_uri=uri)
        self._sent: list[Any] = []

    def _begin(self, options: TrainOptions, output: Path) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        run_id: str = self._client.create_run(experiment, run_name=output.resolve().name).info.run_id
        params = [Param(key, value) for key, value in _flatten(options.model_dump(mode="json"))]
        self._client.log_batch(run_id, params=params)
        return run_id

    def _resume(self) -> int:
        """Put the run back to running, and return the last step that it has: MLflow would keep a step twice."""
        self._client.update_run(self._run_id, status="RUNNING")
        history = self._client.get_metric_history(self._run_id, _TAGS["loss"])
        return max((metric.step for metric in history), default=0)

    def write(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        if step <= self._last_step:
            return
        metrics = [Metric(tag, value, int(time * 1000), step) for tag, value in scalars.items()]
        self._sent.append(self._client.log_batch(self._run_id, metrics=metrics, synchronous=False))

    def close(self, finished: bool) -> None:
        try:
            for one in self._sent:
                one.wait()
            self._client.set_terminated(self._run_id, "FINISHED" if finished else "FAILED")
        except self._error as error:
            _LOG.warning("mlflow did not take every step of run %s: %s", self._run_id, _line(error))
        self._sent.clear()


class _Wandb:
    """To the server that W&B's own settings and variables name; WANDB_MODE=offline writes to the output folder."""

    def __init__(self, options: TrainOptions, output: Path, ids: _Ids) -> None:
        import wandb

        run_id = ids.get("wandb") or os.environ.get("WANDB_RUN_ID") or uuid.uuid4().hex[:12]
        ids.put("wandb", run_id)
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or PROJECT,
                name=output.resolve().name,
                id=run_id,
                resume="allow",
                dir=str(output),
                config=dict(_flatten(options.model_dump(mode="json"))),
                allow_val_change=True,
            )
        except wandb.Error as error:
            raise ValueError(f"watchers: wandb could not start: {_line(error)}") from None

    def write(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        if step >= self._run.step:  # on a resumed run, the steps before are there already
            self._run.log(dict(scalars), step=step)

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


def _flatten(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", str(value)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
