"""The driver: trials that are left, the choice on dev problems, test sets for the chosen, the report."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from metamath_ray import __version__
from metamath_ray.ablation._dev import DEV, write_dev
from metamath_ray.ablation._evaluate import DEV_FILE
from metamath_ray.ablation._options import RUN_ONLY, AblationOptions
from metamath_ray.ablation._outcomes import Outcome
from metamath_ray.ablation._plan import AblationPlan
from metamath_ray.ablation._records import TrialRecord, load_record, trial_folder, write_rows
from metamath_ray.ablation._sampling import MixSample
from metamath_ray.ablation._trial import TrialTask, give_back, run_trial
from metamath_ray.ablation._tune import RunTrial, TrialEvent, run_trials
from metamath_ray.run_folder import Config, open_run_folder, write_whole

_LOG = logging.getLogger(__name__)

TUNE_FOLDER = "tune"


class TrialsFailedError(RuntimeError):
    """Some trials failed, the others are kept; the text names them and says why, on one line."""


@dataclass(frozen=True, slots=True)
class TrialProgress:
    """What happened to a trial, and how many of this stage's are done; `accuracy` by benchmark of a finished one."""

    event: TrialEvent
    name: str
    done: int
    total: int
    accuracy: dict[str, float]


OnProgress = Callable[[TrialProgress], None]


def run_ablation(
    plan: AblationPlan, *, run: RunTrial = run_trial, on_progress: OnProgress = lambda progress: None
) -> Path:
    """Run the trials that are left and write the report; gives the path of `summary.json`. Ray must run.

    A trial whose record lies in the output folder is not run again. Raises `ValueError` for a folder of another
    ablation, too small a cluster or records of other rows, and `TrialsFailedError` after the others have run.
    """
    started = time.monotonic()
    options = plan.options
    config = options.model_dump(mode="json")
    with open_run_folder(options.output, config, identity=_identity, option="--output") as folder:
        num_cpus = share_of_cpus(options)
        if plan.dev:
            write_dev(plan.dev, folder / DEV_FILE)
        stage = _Stage(plan, folder, run, num_cpus, on_progress)
        keeps = options.keep_models or options.choose == "best"
        num_run = stage.run(plan.samples, plan.first_benchmarks(), keeps_model=keeps)
        chosen = choose_mixes(plan, stage.records())
        tested = [sample for sample in plan.samples if sample.mix in chosen]
        _remove_models(plan, folder, kept=tested)
        num_run += stage.run(tested, (*plan.first_benchmarks(), *plan.tests), keeps_model=options.keep_models)
        _remove_models(plan, folder, kept=())
        shutil.rmtree(folder / TUNE_FOLDER, ignore_errors=True)
        counts = {"trials": len(plan.samples), "run_now": num_run, "chosen": list(chosen)}
        return _write_summary(plan, folder, stage.records(), counts | {"seconds": time.monotonic() - started})


def choose_mixes(plan: AblationPlan, records: Sequence[TrialRecord]) -> tuple[str, ...]:
    """The mixes that the test sets are for: all, or the one with the best mean over seeds on the dev problems.

    Of two alike, the one with fewer tokens.
    """
    if plan.options.choose == "all":
        return tuple(mix.name for mix in plan.mixes)
    tokens = {info.name: info.tokens for info in plan.infos()}
    means = {
        mix.name: fmean(record.outcomes[DEV].accuracy for record in records if record.mix == mix.name)
        for mix in plan.mixes
    }
    return (max(means, key=lambda name: (means[name], -tokens[name])),)


def share_of_cpus(options: AblationOptions) -> int:
    """CPUs of one trial: the cluster's, shared out over those that run at a time.

    Raises `ValueError` where trials would wait for each other's workers.
    """
    import ray

    has = ray.cluster_resources()
    workers = options.concurrent_trials * max(options.train_options().num_workers, 1)
    kind = "GPU" if has.get("GPU", 0) and options.train_options().device.kind != "cpu" else "CPU"
    places = int(has.get(kind, 0))
    if not options.is_in_process and workers > places:
        raise ValueError(
            f"concurrent_trials {options.concurrent_trials} x training.num_workers "
            f"{options.train_options().num_workers} need {workers} {kind}s, the Ray cluster has {places}; lower one"
        )
    return max(int(has.get("CPU", 1)) // options.concurrent_trials, 1)


@dataclass(frozen=True)
class _Stage:
    plan: AblationPlan
    folder: Path
    run_one: RunTrial
    num_cpus: int
    on_progress: OnProgress

    def run(self, samples: Sequence[MixSample], benchmarks: Sequence[str], *, keeps_model: bool) -> int:
        """Run what is left of these trials on these benchmarks; gives how many those were."""
        tasks = [self._task(sample, benchmarks, keeps_model) for sample in samples]
        left = [task for task in tasks if task.benchmarks]
        for sample, task in zip(samples, tasks, strict=True):
            if task.benchmarks:
                write_rows(Path(task.folder), sample)
        done: list[str] = [task.name for task in tasks if not task.benchmarks]

        def tell(event: TrialEvent, name: str) -> None:
            if event == "done":
                done.append(name)
            accuracy = self._accuracy(name) if event == "done" else {}
            self.on_progress(TrialProgress(event, name, len(done), len(tasks), accuracy))

        failed = run_trials(
            left,
            run=self.run_one,
            concurrent=self.plan.options.concurrent_trials,
            storage=self.folder / TUNE_FOLDER,
            on_trial=tell,
        )
        if failed:
            name, reason = next(iter(failed.items()))
            raise TrialsFailedError(
                f"{len(failed)} of {len(left)} trials failed ({', '.join(failed)}); {name}: {reason}; traces are in "
                f"{self.folder / TUNE_FOLDER}"
            )
        return len(left)

    def records(self) -> list[TrialRecord]:
        """The records of all trials that have one."""
        found = (load_record(self.folder, sample) for sample in self.plan.samples)
        return [record for record in found if record is not None]

    def _task(self, sample: MixSample, benchmarks: Sequence[str], keeps_model: bool) -> TrialTask:
        record = load_record(self.folder, sample)
        has = record.outcomes if record else {}
        return TrialTask(
            name=sample.name,
            mix=sample.mix,
            seed=sample.seed,
            rows_sha256=sample.digest,
            benchmarks=tuple(name for name in benchmarks if name not in has),
            folder=str(trial_folder(self.folder, sample.name)),
            num_cpus=self.num_cpus,
            keeps_model=keeps_model,
            options=self.plan.options.model_dump(mode="json"),
        )

    def _accuracy(self, name: str) -> dict[str, float]:
        sample = next(sample for sample in self.plan.samples if sample.name == name)
        record = load_record(self.folder, sample)
        return {one.benchmark: one.accuracy for one in record.outcomes.values()} if record else {}


def _remove_models(plan: AblationPlan, folder: Path, *, kept: Sequence[MixSample]) -> None:
    """The models of the other trials, unless all are to stay."""
    if not plan.options.keep_models:
        names = {sample.name for sample in kept}
        for sample in plan.samples:
            if sample.name not in names:
                give_back(trial_folder(folder, sample.name), keeps_model=False)


def _write_summary(
    plan: AblationPlan, folder: Path, records: Sequence[TrialRecord], counts: dict[str, Any]
) -> Path:
    from metamath_ray.ablation._report import write_report

    outcomes: list[Outcome] = [one for record in records for one in record.outcomes.values()]
    table = write_report(folder, outcomes, plan.infos(), splits=plan.splits)
    summary = {
        "version": __version__,
        "data": plan.options.data,
        "model": plan.options.model,
        "dev_problems": len(plan.dev),
        "seeds": list(plan.options.all_seeds),
        "equal": plan.options.equal,
        **counts,
        **table,
    }
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    return write_whole(folder / "summary.json", text + "\n")


def _identity(config: Config) -> Config:
    """The part of a configuration that two runs of one folder share: with another, trials can't be compared."""
    config = AblationOptions.model_validate(config).model_dump(mode="json")
    return {name: value for name, value in config.items() if name not in RUN_ONLY}
