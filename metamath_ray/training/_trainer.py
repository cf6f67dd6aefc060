"""The driver: data, then Ray Train's workers, then the summary."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metamath_ray.run_folder import open_run_folder, write_whole
from metamath_ray.training._errors import CannotResumeError, TrainingFailedError
from metamath_ray.training._metrics import StepMetrics, load_metrics
from metamath_ray.training._options import RUN_ONLY, TrainOptions
from metamath_ray.training._prepare import prepare_data
from metamath_ray.training._schedule import StepPlan
from metamath_ray.training._summary import summarise

_GPU_WORKER_CPUS = 8
_POLL_S = 1.0

OnStep = Callable[[StepMetrics, int], None]


def train(options: TrainOptions, on_step: OnStep | None = None) -> Path:
    """Train as the options say, in `options.output`, and give the path of its `summary.json`.

    Goes on from the newest checkpoint in there; a finished run is left as it is. `on_step` is called in a thread of
    its own with each step's figures and the number of steps. Ray must be initialised. Raises `ValueError` for bad
    data or a folder of another run, `TrainingFailedError` where the workers failed more often than allowed.
    """
    with open_run_folder(
        options.output, options.model_dump(mode="json"), identity=_identity, option="--output"
    ) as output:
        data = prepare_data(options, output / "data")
        plan = StepPlan.make(len(data), options)
        if not _is_finished(output, plan):
            _run_workers(options, output, plan, on_step)
        summary = json.dumps(summarise(options, output), indent=2) + "\n"
        return write_whole(output / "summary.json", summary)


def run_worker(config: dict[str, Any]) -> None:
    """What Ray Train runs in each worker. A run that can't go on says so to the driver, and is not tried again."""
    from ray import train as ray_train

    from metamath_ray.training._export import export_model
    from metamath_ray.training._loop import train_loop
    from metamath_ray.training._session import RaySession

    options, output = TrainOptions.model_validate(config["options"]), Path(config["output"])

    def export(weights: dict[str, Any]) -> None:
        export_model(weights, options=options, output=output, record=summarise(options, output))

    try:
        train_loop(RaySession(), options, output, export)
    except CannotResumeError as error:
        ray_train.report({"refused": str(error)})


def _run_workers(options: TrainOptions, output: Path, plan: StepPlan, on_step: OnStep | None) -> None:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train import TrainingFailedError as RayTrainingFailedError
    from ray.train.torch import TorchTrainer

    from metamath_ray.training._device import choose_kind

    trainer = TorchTrainer(
        run_worker,
        train_loop_config={"options": options.model_dump(mode="json"), "output": str(output)},
        scaling_config=ScalingConfig(
            num_workers=options.num_workers,
            use_gpu=choose_kind(options.device) == "gpu",
            resources_per_worker=_worker_resources(options),
        ),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=options.checkpoint.storage or str(output),
            failure_config=FailureConfig(max_failures=options.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=options.checkpoint.keep),
        ),
    )
    ended = threading.Event()
    watcher = threading.Thread(target=_follow, args=(output, plan.num_steps, on_step, ended), daemon=True)
    watcher.start()
    try:
        result = trainer.fit()
    except RayTrainingFailedError as error:
        raise TrainingFailedError(_reason(error)) from None
    except SystemExit:  # Ray Train's answer to Ctrl-C, with exit code 0
        raise KeyboardInterrupt from None
    finally:
        ended.set()
        watcher.join()
    if refused := (result.metrics or {}).get("refused"):
        raise CannotResumeError(refused)


def _worker_resources(options: TrainOptions) -> dict[str, float]:
    import ray

    from metamath_ray.training._device import choose_kind

    kind = choose_kind(options.device)
    cpus = float(options.device.cpus_per_worker or 0)
    if not cpus:
        total = ray.cluster_resources().get("CPU", 1)
        cpus = _GPU_WORKER_CPUS if kind == "gpu" else max(total // options.num_workers, 1)
    return {"CPU": cpus, "GPU": 1} if kind == "gpu" else {"CPU": cpus}


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


def _is_finished(output: Path, plan: StepPlan) -> bool:
    steps = load_metrics(output / "metrics.jsonl")
    return bool(steps) and steps[-1].step == plan.num_steps and (output / "model").is_dir()


def _reason(error: Exception) -> str:
    failures = getattr(error, "worker_failures", None) or {}
    cause = next(iter(failures.values()), error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[-1] if lines else 'no reason given'}"


def _identity(config: dict[str, Any]) -> dict[str, Any]:
    """What two runs of one folder must share: all that decides the weights."""
    options = TrainOptions.model_validate(config)
    device = {"fused_loss"}
    return options.model_dump(mode="json", exclude=set(RUN_ONLY) | {"device"}) | {
        "device": options.device.model_dump(mode="json", include=device)
    }
