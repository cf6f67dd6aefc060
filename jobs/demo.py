"""Every stage once, small: build a dataset, evaluate a student, fine-tune it, evaluate again; told on one page.

    make demo              # about 20 minutes on two cores, with installation
    make demo FAST=1       # under ten
    python jobs/demo.py --model MODEL_FOLDER --run-dir runs/mine

Each step is a job in a process of its own. A demo that was stopped goes on where it was: run the same command again.

Exit codes: 0 done, 2 bad input, 1 a step failed, 130 interrupted.
"""

import logging
import os
import signal
import sys
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import _python  # noqa: F401  # before all that a wrong Python lacks

from metamath_ray.demo import (
    DemoOptions,
    Step,
    StepFailedError,
    StudentError,
    TimeRecord,
    check_room,
    demo_folders,
    fetch_student,
    plan_steps,
    run_command,
    shown_command,
)
from metamath_ray.options import fail, parse_options
from metamath_ray.reports import BadReportInputError, DemoStep, write_demo_report
from metamath_ray.run_folder import open_run_folder

JOBS = Path(__file__).parent
KNOWN_CODES = (1, 2, 3)


def main(argv: list[str]) -> None:
    """Run the demo and end with its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("metamath_ray").setLevel(logging.INFO)
    for stop in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell lets background processes ignore it
        signal.signal(stop, signal.default_int_handler)
    try:
        options = parse_options(DemoOptions, argv, prog="demo.py", description=__doc__ or "")
        if options.student_only:
            print(fetch_student(options.student))
            return
        page = run(options)
    except StudentError as error:
        fail(str(error), 1)
    except StepFailedError as error:
        fail(str(error), error.code if error.code in KNOWN_CODES else 1)
    except BadReportInputError as error:
        fail(f"{error}; delete its folder and run the same command again", 1)
    except ValueError as error:
        fail(" ".join(str(error).split()), 2)
    except OSError as error:
        fail(f"{type(error).__name__}: {error}; run the same command again to go on", 1)
    except KeyboardInterrupt:
        fail("interrupted; run the same command again to go on", 130)
    if options.open and has_display():
        webbrowser.open(page.as_uri())
    print("The whole story is on one page, for any browser:")
    print(page)


def run(options: DemoOptions) -> Path:
    """Every step that is not done yet, then the page; gives its path."""
    steps = plan_steps(options, jobs=JOBS)
    times = TimeRecord(options.run_dir / "steps.json")
    with open_run_folder(
        options.run_dir / options.size.name,
        options.model_dump(mode="json") | options.identity(),
        identity=identity_of,
        option="--run-dir",
    ) as folder:
        left_s = sum(step.expected_s for step in steps if not step.is_done())
        if left_s:
            check_room(options)
            print(f"{len(steps)} steps into {options.run_dir}: {about(left_s)} on two cores.")
            print("Stop it when you like: the same command goes on where it was.", flush=True)
        else:
            print(f"{len(steps)} steps into {options.run_dir}: all done before.")
        started = time.monotonic()
        for number, step in enumerate(steps, start=1):
            run_step(step, steps, number, started=started, log=folder / f"{step.name}.log", times=times)
    return write_page(options, steps, times)


def identity_of(config: dict[str, object]) -> dict[str, object]:
    """The part of a demo's configuration that two runs of one folder share."""
    return {name: config.get(name) for name in DemoOptions().identity()}


def run_step(
    step: Step, steps: Sequence[Step], number: int, *, started: float, log: Path, times: TimeRecord
) -> None:
    """One step with its lines and times, or that it is done already. Raises `StepFailedError` that names it."""
    head = f"[{number}/{len(steps)}] {step.title}"
    if step.is_done():
        print(f"{head}: done before", flush=True)
        return
    print(f"{head}: {about(step.expected_s)}\n        $ {shown_command(step)}", flush=True)
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{clock(time.monotonic() - started)} | {line}", flush=True)

    try:
        run_command(step.command, log=log, say=say)
    except StepFailedError as error:
        message = (
            f"step {number}, {step.title}: {error}; its output is in {log}, and the same command goes on here"
        )
        raise StepFailedError(message, error.code) from None
    finally:
        times.add(name_of(step), time.monotonic() - begun)
    left_s = sum(other.expected_s for other in steps[number:] if not other.is_done())
    say(f"done in {spent(time.monotonic() - begun)}, {about(left_s)} left")


def write_page(options: DemoOptions, steps: Sequence[Step], times: TimeRecord) -> Path:
    """The demo's page; gives its path."""
    page = options.run_dir.absolute() / ("demo_fast.html" if options.fast else "demo.html")
    told = [
        DemoStep(step.title, shown_command(step), times.seconds.get(name_of(step)), step.page)
        for step in steps
    ]
    return write_demo_report(
        page,
        demo_folders(options),
        steps=told,
        student=options.student.absolute().name,
        about_student=options.about_student,
        is_fast=options.fast,
    )


def name_of(step: Step) -> str:
    """A step's key among the times: its folder too, where each size has its own."""
    return f"{step.makes.parent.parent.name}/{step.name}"


def has_display() -> bool:
    """Whether a browser's window could be seen."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def about(seconds: float) -> str:
    """A rough time, in words."""
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


def spent(seconds: float) -> str:
    """A time as it was, in words."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:4d}:{rest:02d}"


if __name__ == "__main__":
    main(sys.argv[1:])
