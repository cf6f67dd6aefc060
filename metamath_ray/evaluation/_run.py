"""A whole evaluation: what is missing is asked, everything is graded, tables and summary are written."""

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from metamath_ray.evaluation._application import place_engines, run_application, start_ray_for_serve
from metamath_ray.evaluation._benchmarks import Benchmark, load_benchmarks
from metamath_ray.evaluation._clients import Client, EndpointClient, HandleClient
from metamath_ray.evaluation._dispatch import Keep, Patience, Traffic, dispatch, order_requests
from metamath_ray.evaluation._grading import Grading
from metamath_ray.evaluation._journal import JOURNAL_SUFFIX, Completion
from metamath_ray.evaluation._keys import Request, fingerprint_model, plan_requests
from metamath_ray.evaluation._metrics import AnswerMeter
from metamath_ray.evaluation._options import EvaluationOptions
from metamath_ray.evaluation._predictions import (
    PREDICTIONS,
    PredictionStore,
    predictions_path,
    ungraded_prediction,
    write_predictions,
)
from metamath_ray.evaluation._prompts import load_prompt
from metamath_ray.evaluation._scores import BenchmarkScores, score_benchmark
from metamath_ray.evaluation._setup import resolve_adapter, resolve_model
from metamath_ray.evaluation._summary import SUMMARY, Provenance, write_json, write_summary
from metamath_ray.run_folder import Config, open_run_folder

ENGINE_FILE = "engine.json"
"""What the engine of the newest start said of itself, for a run that finds all completions saved."""

_IN_FLIGHT_TO_A_SERVER = 64
_SERVER_TIMEOUT_S = 1800.0
_IN_FLIGHT_PER_SEQUENCE = 2  # so that the engine always has one to begin when one ends
_DECIDING = ("model", "adapter", "prompt", "stop", "max_new_tokens", "exact", "batch_invariant")


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """An evaluation whose inputs are read and checked; nothing is started or written yet.

    `model` is what engine or server know the model by. `requests` by benchmark.
    """

    options: EvaluationOptions
    model: str
    adapter: str
    fingerprints: Mapping[str, str]
    benchmarks: tuple[Benchmark, ...]
    requests: Mapping[str, tuple[Request, ...]]


@dataclass(frozen=True, slots=True)
class EvaluationStatus:
    """How far an evaluation is; `correct` of `graded` under the rules of the headline."""

    phase: str
    num_all: int
    num_reused: int
    answered: int
    in_flight: int
    retries: int
    completion_tokens: int
    asking_s: float
    graded: int
    correct: int


def plan_evaluation(options: EvaluationOptions) -> EvaluationPlan:
    """Read the benchmarks, look at the model or the server, and list every completion that is wanted.

    Raises `ValueError`, `FileNotFoundError` and `ModuleNotFoundError` for what the user has to mend.
    """
    render = load_prompt(options.prompt)
    benchmarks = load_benchmarks(options.benchmarks, limit=options.limit, order=options.limit_order)
    adapter = resolve_adapter(options.adapter)
    model = asyncio.run(_check_server(options)) if options.base_url else resolve_model(options.model)
    fingerprints = {"fingerprint": model if options.base_url else fingerprint_model(model)}
    if adapter:
        fingerprints["adapter_fingerprint"] = fingerprint_model(adapter)
    identity = fingerprints | _way_of_asking(options)
    requests = {
        benchmark.name: plan_requests(benchmark, options=options, render=render, identity=identity)
        for benchmark in benchmarks
    }
    return EvaluationPlan(options, model, adapter, fingerprints, benchmarks, requests)


class Evaluation:
    """One run of a plan, in `options.output`; `status()` may be asked from another thread.

    `scores` of each benchmark are there after `run()`.
    """

    def __init__(self, plan: EvaluationPlan) -> None:
        self._plan = plan
        self._options = plan.options
        self._phase = "starting"
        self._traffic = Traffic()
        self._num_reused = 0
        self._asking_since: float | None = None
        self._grading: Grading | None = None
        self._timings: dict[str, float] = {}
        self.scores: tuple[BenchmarkScores, ...] = ()

    def run(self) -> Path:
        """Ask for what is missing, grade all, write tables and summary; gives the path of the summary.

        Raises `BadRunFolderError`, `EngineStartError`, `EngineLostError`, `BadEndpointError`; what had arrived is
        saved then, and the same run goes on from there.
        """
        started = time.monotonic()
        with ExitStack() as stack:
            folder = stack.enter_context(_open_output(self._options))
            stores = {
                name: stack.enter_context(PredictionStore(folder, name, requests=requests))
                for name, requests in self._plan.requests.items()
            }
            grading = self._grading = stack.enter_context(Grading(self._options.grader))
            self._num_reused = sum(store.num_reused for store in stores.values())
            for store in stores.values():
                grading.submit(store.ungraded())
            self._ask_missing(folder, stores, grading)
            self._phase = "grading"
            grading.finish()
            (folder / SUMMARY).unlink(missing_ok=True)  # until all tables are of this run
            self.scores = self._write_tables(folder, stores, grading)
            return write_summary(
                folder,
                self.scores,
                grader=self._options.grader,
                provenance=self._provenance(folder),
                seconds=time.monotonic() - started,
                num_reused=self._num_reused,
                timings=self._timings | {"grading": grading.seconds},
            )

    def status(self) -> EvaluationStatus:
        """How far it is."""
        grading = self._grading
        since = self._asking_since
        return EvaluationStatus(
            phase=self._phase,
            num_all=sum(map(len, self._plan.requests.values())),
            num_reused=self._num_reused,
            answered=self._traffic.answered,
            in_flight=self._traffic.in_flight,
            retries=self._traffic.retries,
            completion_tokens=self._traffic.completion_tokens,
            asking_s=time.monotonic() - since if since else 0.0,
            graded=grading.graded if grading else 0,
            correct=grading.correct if grading else 0,
        )

    def _ask_missing(self, folder: Path, stores: Mapping[str, PredictionStore], grading: Grading) -> None:
        missing = order_requests([request for store in stores.values() for request in store.missing])
        if not missing:
            return

        started = time.monotonic()
        with self._client(folder) as client:
            meter = AnswerMeter()

            def keep(request: Request, completion: Completion) -> None:
                started = time.perf_counter()
                stores[request.benchmark].add([completion])
                self._timings["writing"] = self._timings.get("writing", 0.0) + time.perf_counter() - started
                grading.submit([ungraded_prediction(request, completion)])
                meter.arrived(request, completion)

            self._timings["starting"] = time.monotonic() - started
            self._phase, self._asking_since = "asking", time.monotonic()
            asyncio.run(self._dispatch(missing, client, keep))
            self._timings["asking"] = time.monotonic() - self._asking_since

    async def _dispatch(self, missing: Sequence[Request], client: Client, keep: Keep) -> None:
        options = self._options
        own = options.replicas * options.engine.max_num_seqs * _IN_FLIGHT_PER_SEQUENCE
        default = _IN_FLIGHT_TO_A_SERVER if options.base_url else own
        try:
            await client.check()
            await dispatch(
                missing,
                client,
                max_in_flight=options.max_in_flight or default,
                patience=Patience(_request_timeout_s(options), options.deadline_s),
                keep=keep,
                traffic=self._traffic,
            )
        finally:
            await client.close()

    @contextmanager
    def _client(self, folder: Path) -> Iterator[Client]:
        """Whoever is asked, for as long as it is needed."""
        options = self._options
        if options.base_url:
            server = {"name": "server", "base_url": options.base_url, "api": options.endpoint.api}
            write_json(folder / ENGINE_FILE, server)
            yield _endpoint_client(options, self._plan.model)
            return
        start_ray_for_serve()
        setup = place_engines(options, model=self._plan.model, adapter=self._plan.adapter)
        name = f"evaluation-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
        with run_application(setup, replicas=options.replicas, name=name) as application:
            ran_with = {"replicas": options.replicas, **_way_of_asking(options)}
            write_json(folder / ENGINE_FILE, application.engine | ran_with)
            yield HandleClient(name, application.handle)

    def _write_tables(
        self, folder: Path, stores: Mapping[str, PredictionStore], grading: Grading
    ) -> tuple[BenchmarkScores, ...]:
        started = time.perf_counter()
        scores = []
        for name, store in stores.items():
            graded = [grading.of(prediction) for prediction in store.ungraded()]
            write_predictions(
                predictions_path(folder, name), graded, num_expected=len(self._plan.requests[name])
            )
            scores.append(score_benchmark(name, graded))
        self._timings["tables"] = time.perf_counter() - started
        return tuple(scores)

    def _provenance(self, folder: Path) -> Provenance:
        path = folder / ENGINE_FILE
        engine = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        name = self._options.model or self._plan.model
        adapter = {"adapter": self._options.adapter} if self._options.adapter else {}
        return Provenance({"name": name, **adapter, **self._plan.fingerprints}, engine)


def _endpoint_client(options: EvaluationOptions, model: str) -> EndpointClient:
    timeout_s = options.request_timeout_s or _SERVER_TIMEOUT_S
    return EndpointClient(options.base_url, model, options.endpoint, timeout_s=timeout_s)


def _request_timeout_s(options: EvaluationOptions) -> float | None:
    """None for engines of our own: 256 long completions at a time take hours on a slow machine, and a replica ends an
    engine that stands still."""
    return options.request_timeout_s or (_SERVER_TIMEOUT_S if options.base_url else None)


async def _check_server(options: EvaluationOptions) -> str:
    client = _endpoint_client(options, options.model)
    try:
        return await client.check()
    finally:
        await client.close()


def _way_of_asking(options: EvaluationOptions) -> dict[str, str]:
    """What decides a completion beside model, prompt and sampling."""
    if options.base_url:
        return {"engine": "server", "api": options.endpoint.api}
    mode = "exact" if options.exact else "batch-invariant" if options.batch_invariant else "batched"
    way = {"mode": mode, "dtype_asked": "float32" if options.exact else options.engine.dtype}
    if options.engine.max_model_len is not None:  # completions are cut there, and longer prompts refused
        way["max_model_len_asked"] = str(options.engine.max_model_len)
    return way


def _open_output(options: EvaluationOptions) -> AbstractContextManager[Path]:
    """The output folder; while no completion is saved in it, any options may follow any others."""
    saved = any(path.stat().st_size for path in (options.output / PREDICTIONS).glob(f"*{JOURNAL_SUFFIX}"))
    return open_run_folder(
        options.output,
        options.model_dump(mode="json"),
        identity=_identity if saved else lambda config: {},
        option="--output",
    )


def _identity(config: Config) -> Config:
    """The part of a configuration that two runs of one folder share: with another, no saved completion counts."""
    deciding = {name: config.get(name) for name in _DECIDING}
    engine = {name: config["engine"][name] for name in ("dtype", "max_model_len")}
    return deciding | {"own engine": not config.get("base_url"), "engine": engine}
