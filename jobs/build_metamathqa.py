"""Build MetaMathQA: a teacher LLM bootstraps seed problems four ways, right reasoning paths become rows.

With no options: the bundled seeds and their recorded replies, offline, no key. With your own teacher:

    python jobs/build_metamathqa.py --seeds gsm8k:train.jsonl --teacher.base-url http://127.0.0.1:8000/v1 \\
        --teacher.model MODEL --run-dir runs/gsm8k

Exit codes: 0 done, 2 bad input, 3 stopped by budget or teacher (run the same command again), 1 failure, 130
interrupted (likewise).
"""

import asyncio
import logging
import os
import sys
import threading
import time
from pathlib import Path

import _python  # noqa: F401  # before all that a wrong Python lacks

from metamath_ray.bootstrap import (
    Build,
    BuildOptions,
    BuildStoppedError,
    Inputs,
    Load,
    Pilot,
    RestEstimate,
    ask_pilot,
    estimate_rest,
    forecast_build,
    load_inputs,
    open_run_dir,
    read_ledgers,
)
from metamath_ray.hub import check_push, push_folder
from metamath_ray.interrupt import INTERRUPTED, end_on_signals
from metamath_ray.options import fail, parse_options
from metamath_ray.reports import write_build_report, write_dataset_card
from metamath_ray.run_folder import BadRunFolderError
from metamath_ray.start_ray import ClusterError, check_output, prepare_ray_data, start_ray
from metamath_ray.teacher import (
    ApiKeys,
    BatchStatus,
    Endpoint,
    GovernorStatus,
    LedgerDamagedError,
    LedgerInUseError,
    Stop,
    TeacherOptions,
    check_endpoints,
    resolve_endpoints,
)

PROGRESS_S = 10.0
_BATCH_TIME = "up to 24 hours for the first calls, and again for the paths that follow from them"


def main(argv: list[str]) -> None:
    """Run the job and end with its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    end_on_signals("error: interrupted; run the same command again to go on")
    try:
        run(argv)
    except KeyboardInterrupt:  # said already
        sys.exit(INTERRUPTED)


def run(argv: list[str]) -> None:
    """Check, build, report; ends the job with its exit code where that fails."""
    try:
        options = parse_options(BuildOptions, argv, prog="build_metamathqa.py", description=__doc__ or "")
        check_output(options.run_dir, option="--run-dir")
        check_push(options.push_to_hub)
        inputs = load_inputs(options)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        fail(str(error), 2)
    if options.teacher.has_endpoint and (options.pilot or not options.plan):
        check_teacher(options.teacher, inputs.api_keys)
    try:
        if options.plan:
            print_plan(inputs, run_pilot(inputs) if options.pilot else None)
            return
        with open_run_dir(options, prompts=inputs.prompts, seeds=inputs.seeds.problems) as folder:
            start_ray()
            prepare_ray_data()
            summary = run_with_progress(Build(inputs, folder))
            show(folder, push_to=options.push_to_hub)
    except (BadRunFolderError, ClusterError, LedgerInUseError) as error:
        fail(str(error), 2)
    except BuildStoppedError as error:
        fail(f"stopped: {error}", 3)
    except LedgerDamagedError as error:
        fail(str(error), 1)
    except (OSError, ConnectionError) as error:
        fail(f"{type(error).__name__}: {error}; what was paid for is in the ledger", 1)
    print(summary)


def show(folder: Path, *, push_to: str | None) -> None:
    """Page and card beside the rows; then the rows on the hub, where that is asked for."""
    print(f"report: {write_build_report(folder)}")
    write_dataset_card(folder)
    if push_to:
        print(f"pushed: {push_folder(folder, push_to, kind='dataset')}")


def run_pilot(inputs: Inputs) -> Pilot:
    """Ask the pilot's questions; their replies are in the run directory's ledger, where the build finds them."""
    with open_run_dir(inputs.options, prompts=inputs.prompts, seeds=inputs.seeds.problems) as folder:
        pilot = ask_pilot(inputs, folder)
    counters = pilot.counters
    print(
        f"pilot: {len(pilot.questions)} questions, {counters.calls_made:,} requests by single calls, "
        f"{counters.calls_reused:,} replies reused, {counters.usd:.2f} USD; all is in the ledger"
    )
    return pilot


def print_plan(inputs: Inputs, pilot: Pilot | None) -> None:
    """Say what the first round asks, what of it the ledgers hold, and what the rest costs; nothing is sent."""
    options = inputs.options
    with read_ledgers(options) as ledger:
        forecast = forecast_build(inputs.seeds.problems, inputs.prompts, options, ledger)
    num_seeds, planned, left = len(inputs.seeds.problems), forecast.planned, forecast.left
    print(
        f"planned: {num_seeds:,} seeds, {forecast.paths:,} reasoning paths: {_load_line(planned, options.teacher)}"
    )
    print(f"in the ledger: {forecast.stored:,} of {planned.samples:,} replies")
    if not left.requests:
        print("to send: 0 requests, 0.00 USD")
    elif pilot is None:
        print(f"to send: {_load_line(left, options.teacher)}")
    else:
        print("to send, by what the pilot's questions took, each with a 95 % interval:")
        print_rest(estimate_rest(forecast.left_by_cell, pilot, options.teacher), options.teacher)
    if inputs.options.target_rows():
        print("this is the first round; further rounds ask for what the targets still miss")


def print_rest(rest: RestEstimate, teacher: TeacherOptions) -> None:
    """A line for each figure."""
    lines = {
        "requests": (rest.requests, ",.0f"),
        "prompt tokens": (rest.prompt_tokens, ",.0f"),
        "completion tokens": (rest.completion_tokens, ",.0f"),
        "USD": (rest.usd, ",.2f"),
    }
    if teacher.interface == "chat":
        lines["minutes or more"] = (rest.minutes(teacher), ",.1f")
    for name, (estimate, form) in lines.items():
        low, high = format(estimate.low, form), format(estimate.high, form)
        print(f"  {name:18}{format(estimate.value, form):>14}  ({low} to {high})")
    if teacher.interface == "batch":
        print(f"  time: {_BATCH_TIME}")


def _load_line(load: Load, teacher: TeacherOptions) -> str:
    time = _BATCH_TIME if teacher.interface == "batch" else f"{load.minutes(teacher):,.0f} minutes or more"
    return (
        f"{load.requests:,} requests, about {load.prompt_tokens:,} prompt and {load.completion_tokens:,} "
        f"completion tokens (estimated from characters), {load.usd(teacher):,.2f} USD, {time}"
    )


def check_teacher(options: TeacherOptions, api_keys: ApiKeys) -> None:
    """End the job with exit 3 where no teacher answers, or every endpoint refuses the key or the model."""
    faults = asyncio.run(check_endpoints(options, api_keys))
    lines = [f"{fault.reason}{_key_hint(endpoint, fault)}" for endpoint, fault in faults.items()]
    if len(faults) == len(resolve_endpoints(options)):
        fail(f"{'; '.join(lines)}; nothing was sent", 3)
    for endpoint, line in zip(faults, lines, strict=True):
        print(f"warning: {endpoint.name}: {line}; the other endpoints go on without it", file=sys.stderr)


def _key_hint(endpoint: Endpoint, fault: Stop) -> str:
    if "(401)" not in fault.reason:
        return ""
    is_set = "comes from" if os.environ.get(endpoint.api_key_env) else "is looked for in"
    return f"; the key {is_set} the environment variable {endpoint.api_key_env}"


def run_with_progress(build: Build) -> Path:
    """Run the build while a thread prints what is done every few seconds."""
    ended = threading.Event()
    printer = threading.Thread(target=print_progress, args=(build, ended), daemon=True)
    printer.start()
    try:
        return build.run()
    finally:
        ended.set()
        printer.join()


def print_progress(build: Build, ended: threading.Event) -> None:
    """A line every few seconds: what is done, rate, time left, money, acceptance. In place on a terminal."""
    started = time.monotonic()
    start, end = ("\r\033[K", "") if sys.stdout.isatty() else ("", "\n")
    before = ""
    while not ended.wait(PROGRESS_S):
        batches, status = build.batch_status(), build.status()
        if batches is not None:
            line = batch_line(batches)
        elif status is not None:
            line = progress_line(status, build.num_planned, time.monotonic() - started)
        else:
            continue
        if line != before:  # a batch may take a day
            print(start + line, end=end, flush=True)
        before = line
    if sys.stdout.isatty():
        print()


def batch_line(status: BatchStatus) -> str:
    """The line of `print_progress` while batches are waited for."""
    states = ", ".join(f"{count} {state}" for state, count in status.states)
    parts = [
        f"batches: {states}",
        f"{status.completed:,}/{status.total:,} requests",
        f"{status.failed:,} failed",
        f"{status.num_ended} batches ended",
        f"{status.usd:.2f} USD",
    ]
    return "  ".join(parts)


def progress_line(status: GovernorStatus, num_planned: int, seconds: float) -> str:
    """The line of `print_progress`."""
    counters, graded = status.counters, sum(status.verdicts.values())
    correct = status.verdicts.get("correct", 0)
    left_min = (num_planned - graded) / graded * seconds / 60 if graded else float("nan")
    parts = [
        f"{graded}/{num_planned} paths",
        f"{correct / graded:.0%} right" if graded else "none graded yet",
        f"{counters.calls_made} calls ({counters.calls_made / seconds * 60:.0f}/min)",
        f"{status.in_flight} in flight",
        f"{counters.calls_reused} replies reused",
        f"{counters.usd:.2f} USD",
        f"{seconds / 60:.1f} min, about {left_min:.0f} left" if graded else f"{seconds / 60:.1f} min",
    ]
    if counters.retries:
        parts.append(f"{counters.retries} retries, {counters.http_429} of them 429")
    return "  ".join(parts)


if __name__ == "__main__":
    main(sys.argv[1:])
