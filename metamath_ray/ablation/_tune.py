"""Trials on Ray Tune: so many at a time, each in a process of its own that holds no CPU.

A trial's own training workers and engines take the CPUs. Did the trial hold some as well, trials would wait for each
other's for ever. It holds a sliver of a resource that each cluster has once, and Tune counts how many run.
"""

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from metamath_ray.ablation._trial import TrialTask

RunTrial = Callable[[TrialTask], None]
TrialEvent = Literal["started", "done", "failed"]
OnTrial = Callable[[TrialEvent, str], None]
"""Called in the driver with what happened to the trial of that name."""

_SLOT = {"node:__internal_head__": 0.0001}  # trials steer; what computes is placed by itself
_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is the job's
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # with 1 it prints a table of its own, at any verbosity
}
_REASON_LENGTH = 500


def run_trials(
    tasks: Sequence[TrialTask], *, run: RunTrial, concurrent: int, storage: Path, on_trial: OnTrial
) -> dict[str, str]:
    """Run each task in a Tune trial; gives the reason of each that failed, by name. Ray must run.

    A failure ends no other trial. `storage` is Tune's own folder, emptied before; failed trials leave their traces in
    it.
    """
    if not tasks:
        return {}
    os.environ.update(_SETTINGS)  # read at the import of Tune, and in its trials
    from ray import tune

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are told once, by the job
    shutil.rmtree(storage, ignore_errors=True)
    by_name = {task.name: task for task in tasks}
    assert len(by_name) == len(tasks)

    def trainable(config: dict[str, Any]) -> None:
        run(by_name[config["trial"]])

    tuner = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([_SLOT])),
        param_space={"trial": tune.grid_search(list(by_name))},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=concurrent,
            trial_name_creator=lambda trial: str(trial.config["trial"]),
            trial_dirname_creator=lambda trial: str(trial.config["trial"]),
        ),
        run_config=tune.RunConfig(
            name=storage.name,
            storage_path=str(storage.parent),
            verbose=0,
            callbacks=[_make_callback(on_trial)],
        ),
    )
    results = tuner.fit()
    failed = {result.config["trial"]: result.error for result in results if result.error is not None}
    return {name: _reason(error) for name, error in failed.items()}


def _make_callback(on_trial: OnTrial) -> Any:
    """In the place of the one that Tune adds where there is none: that prints a line a trial, at any verbosity."""
    from ray.tune.progress_reporter import TrialProgressCallback

    class Progress(TrialProgressCallback):  # type: ignore[misc]
        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            pass

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            on_trial("started", trial.config["trial"])

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            on_trial("done", trial.config["trial"])

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            on_trial("failed", trial.config["trial"])

    return Progress()


def _reason(error: Exception) -> str:
    """The last line of a remote failure: its type and words."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:_REASON_LENGTH]
