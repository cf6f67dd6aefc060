"""Fine-tune a student on MetaMathQA: DeepSpeed on Ray Train, with exact resume.

    python jobs/train_metamath.py --data runs/gsm8k --model MODEL_FOLDER --output runs/student
    python jobs/train_metamath.py --data MetaMathQA-395K.json --recipe llama2-7b --plan

Flags win over --config, that over the recipe's values, and those over the defaults that --help shows. A run that was
killed goes on from its newest checkpoint: run the same command again. Ctrl-C and SIGTERM end it within half a minute,
a second one at once.

Exit codes: 0 done, 2 bad input, 1 failure, 130 interrupted.
"""

import logging
import sys
from pathlib import Path

import _python  # noqa: F401  # before all that a wrong Python lacks

from metamath_ray import training  # brings torch where train() is called, not before
from metamath_ray.hub import check_push, push_folder
from metamath_ray.interrupt import INTERRUPTED, end_on_signals
from metamath_ray.options import fail, fail_with_all, parse_options
from metamath_ray.progress import show_duration
from metamath_ray.reports import write_training_report
from metamath_ray.start_ray import check_output, prepare_ray_data, start_ray

RECENT_STEPS = 20


def main(argv: list[str]) -> None:
    """Run the job and end with its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    end_on_signals("error: interrupted; run the same command again to go on from the newest checkpoint")
    try:
        run(argv)
    except KeyboardInterrupt:  # said already
        sys.exit(INTERRUPTED)


def run(argv: list[str]) -> None:
    """Check, train, report; ends the job with its exit code where that fails."""
    try:
        options = parse_options(
            training.TrainOptions,
            argv,
            prog="train_metamath.py",
            description=__doc__ or "",
            defaults=training.recipe_defaults,
        )
        check_output(options.output, option="--output")
        check_push(options.push_to_hub)
        options = options.with_absolute_paths()
        if options.plan:
            print("\n".join(training.describe_plan(options)))
            return
        for note in training.check_training(options):
            print(f"note: {note}")
    except training.PreflightError as error:
        fail_with_all(error.faults, 2)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        fail(str(error), 2)
    try:
        start_ray(needs_dashboard=True, shows_worker_output=False)
        prepare_ray_data()
        training.check_running_cluster(options)
        summary = run_with_progress(options)
        print(f"report: {write_training_report(options.output)}")
        if options.push_to_hub:
            print(f"pushed: {push_folder(options.output / 'model', options.push_to_hub, kind='model')}")
    except training.PreflightError as error:
        fail_with_all(error.faults, 2)
    except (ValueError, FileNotFoundError) as error:
        fail(str(error), 2)
    except training.TrainingFailedError as error:
        fail(f"{error}; run the same command again to go on from the newest checkpoint", 1)
    except (OSError, ConnectionError) as error:
        fail(f"{type(error).__name__}: {error}", 1)
    print(summary)


def run_with_progress(options: training.TrainOptions) -> Path:
    """Train, and print a line for every `log_every_steps` steps: in place on a terminal."""
    is_terminal = sys.stdout.isatty()
    start, end = ("\r\033[K", "") if is_terminal else ("", "\n")
    recent: list[training.StepMetrics] = []

    def show(metrics: training.StepMetrics, num_steps: int) -> None:
        recent[:] = [*recent, metrics][-RECENT_STEPS:]
        if is_terminal or metrics.step % options.log_every_steps == 0 or metrics.step == num_steps:
            print(start + progress_line(recent, num_steps), end=end, flush=True)

    try:
        return training.train(options, show)
    finally:
        if is_terminal and recent:
            print()


def progress_line(recent: list[training.StepMetrics], num_steps: int) -> str:
    """The newest step's figures; rates and the time left are means over `recent`."""
    last = recent[-1]
    seconds = sum(metrics.seconds for metrics in recent)
    left_s = (num_steps - last.step) * seconds / len(recent)
    parts = [
        f"step {last.step}/{num_steps}",
        f"epoch {last.epoch:.2f}",
        f"loss {last.loss:.4f}",
        f"lr {last.learning_rate:.2e}",
        f"{sum(metrics.tokens for metrics in recent) / seconds:,.0f} tokens/s",
    ]
    if last.mfu is not None:
        parts.append(f"MFU {sum((m.mfu or 0.0) * m.seconds for m in recent) / seconds:.1%}")
    return "  ".join(
        [*parts, f"{last.peak_memory_bytes / 2**30:.1f} GiB", f"about {show_duration(left_s)} left"]
    )


if __name__ == "__main__":
    main(sys.argv[1:])
