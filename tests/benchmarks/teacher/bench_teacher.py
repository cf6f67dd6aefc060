"""The teacher stage at full rate, and its CPU time a call.

    python tests/benchmarks/teacher/bench_teacher.py rate [--workers 1 2 4] [--seconds 150] [--rpm 30000]
    python tests/benchmarks/teacher/bench_teacher.py cpu  [--workers 1] [--calls 6000]

`rate`: the real stage (Ray Data actors, governor actor, ledger on disk) against a server of its own process that
allows RPM requests in any 60 s and replies after 0.2 to 2 s. Expected: at least 97 % of the allowed rate in the
steady state (from 10 s behind the first request to 3 s before the last), under 0.5 % refused, no window above RPM.

`cpu`: the limit removed; user and system time of the worker processes a call, the governor's on top, beside a bare
aiohttp loop and the `openai` client as it comes and over aiohttp. Expected: at most 1.7 ms. Wants a quiet machine.
"""

import argparse
import bisect
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[2])]

from prompts import MODEL, SAMPLING, messages_for  # noqa: E402  # beside this file, in workers too

BLOCKS_AN_ACTOR = 16  # as the build has it


def main() -> None:
    """Run one of the two measurements and print a line for each number of workers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("rate", "cpu"))
    parser.add_argument("--workers", type=int, nargs="+")
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--rpm", type=int, default=30_000)
    parser.add_argument("--calls", type=int, default=6_000)
    parser.add_argument("--in-flight", type=int)
    args = parser.parse_args()
    start_ray()
    measure = measure_rate if args.what == "rate" else measure_cpu
    measure(args)


def measure_rate(args: argparse.Namespace) -> None:
    """The share of the allowed rate, of 429s, and the fullest window, for each number of workers."""
    num_calls = int(args.rpm / 60 * args.seconds)
    for num_workers in args.workers or [1, 2, 4]:
        with server(args.rpm, 0.2, 2.0) as base_url, tempfile.TemporaryDirectory() as folder:
            options = {"rpm": args.rpm, "max_in_flight": args.in_flight or 2_000}
            rows = run_stage(base_url, Path(folder), options, num_workers=num_workers, num_calls=num_calls)
            stats = fetch(base_url, "/stats")
        arrivals, refused = stats["arrivals"], stats["refused"]
        begin, end = arrivals[0] + 10.0, arrivals[-1] - 3.0
        answered = bisect.bisect_left(arrivals, end) - bisect.bisect_left(arrivals, begin)
        answered -= sum(begin <= arrivals[at] < end for at in refused)
        share = answered / (args.rpm / 60 * (end - begin))
        print(
            f"{num_workers} workers: {share:.2%} of {args.rpm:,} requests a minute over {end - begin:.0f} s, "
            f"{len(refused) / len(arrivals):.3%} answered 429, fullest 60 s: {fullest_window(arrivals):,}, "
            f"{cpu_line(rows)}",
            flush=True,
        )


def measure_cpu(args: argparse.Namespace) -> None:
    """CPU time a call, ours beside the bare clients."""
    in_flight = args.in_flight or 128
    with server(0, 0.02, 0.2) as base_url:
        for num_workers in args.workers or [1]:
            with tempfile.TemporaryDirectory() as folder:
                options = {"max_in_flight": in_flight}
                rows = run_stage(
                    base_url, Path(folder), options, num_workers=num_workers, num_calls=args.calls
                )
            print(f"teacher stage, {num_workers} workers: {cpu_line(rows)}", flush=True)
        for kind in ("aiohttp", "openai-aiohttp", "openai"):
            command = [sys.executable, str(HERE / "bare_clients.py"), kind, base_url]
            done = subprocess.run(
                [*command, str(args.calls // 2), str(in_flight)], capture_output=True, text=True, check=True
            )
            print(f"{kind}: {float(done.stdout):.2f} ms a call", flush=True)


def run_stage(
    base_url: str, folder: Path, options: dict[str, Any], *, num_workers: int, num_calls: int
) -> list[dict[str, Any]]:
    """Ask through the stage as the build does; a row for each call with its process and that one's CPU time."""
    import pyarrow as pa
    import ray
    from ray.data import ActorPoolStrategy

    from metamath_ray.teacher import StageSetup, TeacherOptions, TeacherStage, build_index, read_api_keys
    from metamath_ray.teacher import start_governor as start

    teacher = TeacherOptions(base_url=base_url, model=MODEL, samples_per_request=1, **SAMPLING, **options)
    governor = start(
        teacher, run_id=folder.name, budget_usd=None, spent_usd=0.0, memory=folder / "governor.json"
    )
    before_s = ray.get(governor.actor.__ray_call__.remote(cpu_time))
    setup = StageSetup(teacher, governor, ray.put(build_index([])), str(folder), read_api_keys(teacher))
    a_block = max(4, min(256, teacher.max_in_flight // (4 * num_workers)))
    blocks = [
        pa.table({"number": list(range(at, min(at + a_block, num_calls)))})
        for at in range(0, num_calls, a_block)
    ]
    schema = pa.schema([("pid", pa.int64()), ("cpu_s", pa.float64())])
    stage = ray.data.from_arrow(blocks).map_batches(
        TeacherStage,
        fn_constructor_args=(setup, request, receive, schema),
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(
            size=num_workers,
            max_tasks_in_flight_per_actor=2 * BLOCKS_AN_ACTOR,
            max_concurrent_calls_per_actor=BLOCKS_AN_ACTOR,
        ),
        num_cpus=0.01,
    )
    rows = stage.take_all()
    governor_s = ray.get(governor.actor.__ray_call__.remote(cpu_time)) - before_s
    assert governor.status().counters.calls_made == num_calls
    governor.close()
    return [*rows, {"pid": 0, "cpu_s": 0.0}, {"pid": 0, "cpu_s": governor_s}]


def request(row: dict[str, Any]) -> Any:
    """A prompt of its own for each row."""
    from metamath_ray.teacher import ChatRequest

    return ChatRequest(tuple(messages_for(row["number"])))


def receive(_: dict[str, Any], outcomes: list[Any]) -> list[dict[str, Any]]:
    """Who answered the row, and what CPU time that process has used by then."""
    assert outcomes[0].text
    return [{"pid": os.getpid(), "cpu_s": time.process_time()}]


def cpu_time(_: Any) -> float:
    """User and system time of the actor's process."""
    return time.process_time()


def cpu_line(rows: list[dict[str, Any]]) -> str:
    """CPU time a call: each worker's between a tenth of its replies and the last, and the governor's over all."""
    by_process: dict[int, list[float]] = {}
    for row in rows:
        by_process.setdefault(row["pid"], []).append(row["cpu_s"])
    governor_s = by_process.pop(0)[-1]
    num_calls = sum(len(marks) for marks in by_process.values())
    seconds = measured = 0.0
    for marks in by_process.values():
        marks.sort()
        first = len(marks) // 10
        seconds += marks[-1] - marks[first]
        measured += len(marks) - 1 - first
    worker_ms, governor_ms = 1000 * seconds / measured, 1000 * governor_s / num_calls
    return f"CPU a call {worker_ms:.2f} ms in workers + {governor_ms:.2f} ms in the governor"


def fullest_window(arrivals: list[float]) -> int:
    """The most requests that arrived in any 60 s."""
    return max(bisect.bisect_right(arrivals, at + 60.0) - number for number, at in enumerate(arrivals))


@contextmanager
def server(rpm: int, *latency_s: float) -> Iterator[str]:
    """The server, in a process of its own; gives its base URL."""
    command = [sys.executable, str(HERE / "limited_server.py"), str(rpm), *map(str, latency_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def fetch(base_url: str, path: str) -> Any:
    """JSON from the server's own routes."""
    with urllib.request.urlopen(base_url.removesuffix("/v1") + path, timeout=60) as response:
        return json.loads(response.read())


def start_ray() -> None:
    """A Ray of this benchmark's own, quiet; workers find the modules beside this file."""
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    path = os.pathsep.join([str(HERE), str(HERE.parents[2]), os.environ.get("PYTHONPATH", "")])
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.issue_detectors_config.detectors = []


if __name__ == "__main__":
    main()
