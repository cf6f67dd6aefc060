"""The driver: data, then Ray Train's workers, then the summary."""

import json
import logging
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metamath_ray.run_folder import CONFIG_FILE, Config, open_run_folder, write_whole
from metamath_ray.step_metrics import StepMetrics, load_metrics
from metamath_ray.training._claim import wait_for_workers
from metamath_ray.training._errors import CannotGoOnError, TrainingFailedError
from metamath_ray.training._machine import settle_device
from metamath_ray.training._model_card import read_data_key
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._packed import read_manifest
from metamath_ray.training._prepare import prepare_data
from metamath_ray.training._schedule import StepPlan
from metamath_ray.training._storage import checkpoint_place, remove_unlisted_checkpoints, run_id, staging_root
from metamath_ray.training._summary import summarise

_LOG = logging.getLogger(__name__)

_POLL_S = 1.0
_END_S = 20.0
_REFUSALS = ".refused"
_COLLATERAL = (
    "connection closed",
    "connection reset",
    "broken pipe",
    "remote process exited",
    "socket timeout",
)

OnStep = Callable[[StepMetrics, int], None]


def train(options: TrainOptions, on_step: OnStep | None = None) -> Path:
    """Train as the options say, in `options.output`, and give the path of its `summary.json`.

    Goes on from the newest checkpoint in there; a finished run is left as it is. `on_step` is called in a thread of
    its own with each step's figures and the number of steps. Ray must be initialised. Raises `ValueError` for bad
    data, options or a folder of another run (`CannotGoOnError` where only the workers could know; the folder's
    configuration is left as it was), `TrainingFailedError` where the workers failed more often than allowed or one
    of an earlier start does not end. Ctrl-C (`KeyboardInterrupt`) ends the workers.
    """
    options = options.with_absolute_paths()
    before = _read_config(options.output)
    with open_run_folder(
        options.output, options.model_dump(mode="json"), identity=identity_of_run, option="--output"
    ) as output:
        run_id(output)
        wait_for_workers(output)
        data = prepare_data(options, output / "data")
        plan = StepPlan.make(len(data), options)
        try:
            if not is_finished(output, plan):
                _run_workers(settle_device(options), output, plan, on_step)
        except CannotGoOnError:
            if before is not None:
                write_whole(output / CONFIG_FILE, before)
            raise
        summary = json.dumps(summarise(options, output), indent=2) + "\n"
        return write_whole(output / "summary.json", summary)


def run_worker(config: dict[str, Any]) -> dict[str, str] | None:
    """What Ray Train runs in each worker; gives why the run can't go on, if it can't.

    What all workers find alike is given back. What one of them may find alone is left in a file and raised, which
    ends the others too; the workers that Ray Train then starts give it back.
    """
    options, output = TrainOptions.model_validate(config["options"]), Path(config["output"])
    if not (output / CONFIG_FILE).is_file():
        raise ValueError(
            f"folder {output} is not there on node {socket.gethostname()}: --output must lie on storage "
            "that all nodes share"
        )
    if refusal := _read_refusal(output):  # before the imports, which take seconds
        return {"refused": refusal}

    from metamath_ray.training._export import export_model
    from metamath_ray.training._loop import train_loop
    from metamath_ray.training._session import RaySession

    def export(weights: dict[str, Any]) -> None:
        export_model(weights, options=options, output=output, record=summarise(options, output))

    session = RaySession()
    try:
        train_loop(session, options, output, export)
    except CannotGoOnError as error:
        return {"refused": str(error)}
    except ValueError as error:
        (output / _REFUSALS).mkdir(exist_ok=True)
        write_whole(output / _REFUSALS / f"worker-{session.rank}", str(error))
        raise
    return None


def _run_workers(options: TrainOptions, output: Path, plan: StepPlan, on_step: OnStep | None) -> None:
    from ray.train import TrainingFailedError as RayTrainingFailedError

    storage, name = checkpoint_place(options, output)
    remove_unlisted_checkpoints(storage, name)
    shutil.rmtree(output / _REFUSALS, ignore_errors=True)
    trainer = _make_trainer(options, output, storage, name)
    controllers = _take_interrupts(trainer)
    ended = threading.Event()
    watcher = threading.Thread(target=_follow, args=(output, plan.num_steps, on_step, ended), daemon=True)
    watcher.start()
    refusal = None
    try:
        refusal = (trainer.fit().return_value or {}).get("refused")
    except RayTrainingFailedError as error:
        if not (refusal := _read_refusal(output)):
            raise TrainingFailedError(_reason(error)) from None
    except KeyboardInterrupt:
        _end_workers(controllers, output)
        raise
    finally:
        ended.set()
        watcher.join()
        shutil.rmtree(output / _REFUSALS, ignore_errors=True)
        shutil.rmtree(staging_root(output), ignore_errors=True)
    if refusal:
        raise CannotGoOnError(refusal)


def _make_trainer(options: TrainOptions, output: Path, storage: str, name: str) -> Any:
    """Ray Train's trainer; `options.device` is settled."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    assert options.device.kind != "auto", options.device
    assert options.device.cpus_per_worker is not None, options.device
    use_gpu = options.device.kind == "gpu"
    resources = {"CPU": float(options.device.cpus_per_worker)}
    return TorchTrainer(
        run_worker,
        train_loop_config={"options": options.model_dump(mode="json"), "output": str(output)},
        torch_config=TorchConfig(timeout_s=round(options.device.timeout_minutes * 60)),
        scaling_config=ScalingConfig(
            num_workers=options.num_workers,
            use_gpu=use_gpu,
            resources_per_worker=resources | ({"GPU": 1} if use_gpu else {}),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage,
            failure_config=FailureConfig(max_failures=options.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=options.checkpoint.keep),
        ),
    )


def _take_interrupts(trainer: Any) -> list[Any]:
    """Leave Ctrl-C to Python instead of Ray Train; gives the list that will hold Ray Train's controller.

    Ray Train asks its controller to end, and waits without limit: for the start of workers, and for ever while one
    waits for its checkpoint to be committed, as the controller finishes what it was asked before.
    """
    controllers: list[Any] = []
    trainer._register_sigint_handler = controllers.append
    return controllers


def _end_workers(controllers: list[Any], output: Path) -> None:
    """Kill Ray Train's controller, and so the workers, which are its own; returns when they are gone."""
    import ray

    for controller in controllers:
        ray.kill(controller)
    try:
        wait_for_workers(output, patience_s=_END_S)
    except TrainingFailedError as error:
        _LOG.warning("%s", error)


def _follow(output: Path, num_steps: int, on_step: OnStep | None, ended: threading.Event) -> None:
    """Call `on_step` for each new line of the metrics until `ended`."""
    seen = max((metrics.step for metrics in load_metrics(output / "metrics.jsonl")), default=0)
    while True:
        is_last_look = ended.wait(_POLL_S)
        steps = load_metrics(output / "metrics.jsonl")
        seen = min(seen, steps[-1].step if steps else 0)  # a restart cuts what comes after its checkpoint
        for metrics in steps[seen:]:
            seen = metrics.step
            if on_step is not None:
                on_step(metrics, num_steps)
        if is_last_look:
            return


def is_finished(output: Path, plan: StepPlan) -> bool:
    """Whether the run in `output` has done its last step and exported its model, of the data that is there now."""
    steps = load_metrics(output / "metrics.jsonl")
    if not steps or steps[-1].step != plan.num_steps:
        return False
    return read_data_key(output / "model") == read_manifest(output / "data").key


def _read_config(output: Path) -> str | None:
    try:
        return (output / CONFIG_FILE).read_text(encoding="utf-8")
    except OSError:  # none yet; what can't be read is open_run_folder's to refuse
        return None


def _read_refusal(output: Path) -> str | None:
    """The first worker's reason why trying again is of no use."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((output / _REFUSALS).glob("worker-*"))]
    return texts[0] if texts else None


def _reason(error: Exception) -> str:
    """One line of the failure that brought the others down: what lost its connection died of another."""
    failures = getattr(error, "worker_failures", None) or {}
    cause = min(failures.values(), key=_is_collateral, default=error)
    kind = type(getattr(cause, "_base_exc", cause)).__name__  # Ray Train wraps what a worker raised
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    last = lines[-1] if lines else "no reason given"
    return last if last.startswith(kind) else f"{kind}: {last}"


def _is_collateral(failure: Exception) -> tuple[bool, bool]:
    text = str(failure)
    return any(sign in text.lower() for sign in _COLLATERAL), "Traceback" not in text


def identity_of_run(config: Config) -> Config:
    """What two runs of one folder must share: all that decides the weights."""
    return TrainOptions.model_validate(config).identity()
