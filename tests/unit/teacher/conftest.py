import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # asking, virtual_cluster

from teacher_double import MODEL, DoubleOptions, TeacherDouble, serve

from metamath_ray.teacher import (
    ApiKey,
    ChatRequest,
    Governor,
    LocalGovernor,
    Reply,
    TeacherOptions,
    TeacherWorker,
    build_index,
    iter_replies,
    segment_paths,
)
from metamath_ray.teacher._health import Backoff

QUICK = Backoff(first_s=0.01, max_s=0.05)


@dataclass(frozen=True)
class Bench:
    """A worker, its governor and its ledger against a double, on one event loop."""

    double: TeacherDouble
    governor: Governor
    worker: TeacherWorker
    folder: Path

    def stored(self) -> list[Reply]:
        return list(iter_replies(segment_paths(self.folder)))


MakeBench = Callable[..., AbstractAsyncContextManager[Bench]]


def make_options(double: TeacherDouble, **options: Any) -> TeacherOptions:
    given = {"base_url": double.base_url, "model": MODEL, "timeout": 5.0, "give_up_after": 5.0}
    return TeacherOptions(**given | options)


def start_worker(options: TeacherOptions, governor: Governor, folder: Path, **more: Any) -> TeacherWorker:
    return TeacherWorker(
        options,
        governor=LocalGovernor(governor),
        index=build_index(segment_paths(folder)),
        ledger_folder=folder,
        **{"api_keys": {"OPENAI_API_KEY": ApiKey("sk-right")}, "backoff": QUICK} | more,
    )


@pytest.fixture
def make_bench(tmp_path: Path) -> MakeBench:
    @asynccontextmanager
    async def make(
        *,
        budget_usd: float | None = None,
        api_key: str = "sk-right",
        teacher: Any = None,
        backoff: Backoff = QUICK,
        **double: Any,
    ) -> AsyncIterator[Bench]:
        async with serve(DoubleOptions(**double)) as server:
            options = make_options(server, **teacher or {})
            governor = Governor(options, budget_usd)
            keys = {"OPENAI_API_KEY": ApiKey(api_key)}
            worker = start_worker(options, governor, tmp_path / "ledger", api_keys=keys, backoff=backoff)
            try:
                yield Bench(server, governor, worker, tmp_path / "ledger")
            finally:
                await worker.close()

    return make


@pytest.fixture
def prompt() -> Callable[..., ChatRequest]:
    def make(text: str = "What is 1 + 1?", num_samples: int = 1, first_sample: int = 0) -> ChatRequest:
        return ChatRequest(({"role": "user", "content": text},), first_sample, num_samples)

    return make


@pytest.fixture
def second_worker() -> Callable[[Bench], TeacherWorker]:
    """A worker that starts on the bench's ledger as it is now."""
    return lambda bench: start_worker(
        make_options(bench.double), Governor(make_options(bench.double)), bench.folder
    )
