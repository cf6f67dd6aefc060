"""Compare data mixes: train and evaluate one trial for each mix and seed, on Ray Tune; one table in the end.

    python jobs/ablate_data_mix.py --data runs/gsm8k --model MODEL_FOLDER --mixes table1 --output runs/ablation
    python jobs/ablate_data_mix.py --data runs/gsm8k --model MODEL_FOLDER --mixes mixes.yaml --equal tokens --plan

The test sets are for the mix that is best on the dev problems, which are held out of training; --choose all tests
every mix. A run that was killed goes on with the trials that are left: run the same command again. More --seeds or
--mixes add trials to those that are done.

Exit codes: 0 done, 2 bad input, 1 trials failed, 130 interrupted.
"""

import logging
import sys
import time

import _python  # noqa: F401  # before all that a wrong Python lacks

from metamath_ray import ablation, training
from metamath_ray.interrupt import INTERRUPTED, end_on_signals
from metamath_ray.options import fail, fail_with_all, parse_options
from metamath_ray.progress import show_duration
from metamath_ray.start_ray import check_output, prepare_ray_data, start_ray


def main(argv: list[str]) -> None:
    """Run the job and end with its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    end_on_signals("error: interrupted; run the same command again to go on with the trials that are left")
    try:
        run(argv)
    except KeyboardInterrupt:  # said already
        sys.exit(INTERRUPTED)


def run(argv: list[str]) -> None:
    """Check, run the trials, report; ends the job with its exit code where that fails."""
    try:
        options = parse_options(
            ablation.AblationOptions,
            argv,
            prog="ablate_data_mix.py",
            description=__doc__ or "",
            defaults=ablation.ablation_defaults,
        )
        check_output(options.output, option="--output")
        plan = ablation.plan_ablation(options)
        print("\n".join(ablation.describe_plan(plan)))
        if options.plan:
            return
        start_ray(needs_dashboard=not options.is_in_process, shows_worker_output=False)
        prepare_ray_data()
        summary = ablation.run_ablation(plan, on_progress=ProgressLines().show)
    except training.PreflightError as error:
        fail_with_all(error.faults, 2)
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        fail(str(error), 2)
    except ablation.TrialsFailedError as error:
        fail(f"{error}; run the same command again to run them again", 1)
    except (OSError, ConnectionError) as error:
        fail(f"{type(error).__name__}: {error}", 1)
    print(f"report: {summary.parent / 'report.html'}")
    print(summary)


class ProgressLines:
    """A line for each trial that starts or ends."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._ended: list[float] = []
        self._begun = time.monotonic()

    def show(self, progress: ablation.TrialProgress) -> None:
        """Print what happened, how many are done, and how long the rest will take."""
        now = time.monotonic()
        if progress.event == "started":
            self._started[progress.name] = now
            print(f"trial {progress.name}: started, {progress.done}/{progress.total} done", flush=True)
            return
        self._ended.append(now)
        seconds = now - self._started.get(progress.name, self._begun)
        accuracy = "  ".join(f"{name} {value:.1%}" for name, value in progress.accuracy.items())
        counts = f"{progress.done}/{progress.total} done"
        line = f"trial {progress.name}: {accuracy or progress.event}, {seconds:.0f} s, {counts}"
        if left := progress.total - progress.done:
            each = (now - self._begun) / len(self._ended)
            line += f", about {show_duration(left * each)} left"
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
