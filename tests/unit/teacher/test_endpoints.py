"""Several endpoints for one model over real HTTP: used together, taken out one by one."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from asking import one, run
from teacher_double import MODEL, DoubleOptions, TeacherDouble, serve
from virtual_cluster import Load, most_in_a_window

from metamath_ray.teacher import (
    ApiKey,
    Failure,
    Governor,
    LocalGovernor,
    Reply,
    TeacherOptions,
    TeacherWorker,
    build_index,
    check_endpoints,
    iter_replies,
    segment_paths,
)
from metamath_ray.teacher._health import Backoff

QUICK = Backoff(first_s=0.01, max_s=0.05)


@dataclass(frozen=True)
class Several:
    doubles: list[TeacherDouble]
    governor: Governor
    worker: TeacherWorker
    folder: Path

    def asked(self) -> list[int]:
        return [double.stats.requests for double in self.doubles]


def keys_for(num: int) -> dict[str, ApiKey]:
    return {f"KEY_{at}": ApiKey(f"sk-{at}") for at in range(num)}


def options_for(doubles: list[TeacherDouble], limits: dict[str, Any], **teacher: Any) -> TeacherOptions:
    endpoints = [
        {"base_url": double.base_url, "api_key_env": f"KEY_{at}"} | limits
        for at, double in enumerate(doubles)
    ]
    return TeacherOptions(
        **{"model": MODEL, "timeout": 5.0, "give_up_after": 5.0, "endpoints": endpoints} | teacher
    )


@asynccontextmanager
async def several(folder: Path, *doubles: dict[str, Any], limits: dict[str, Any] | None = None, **teacher: Any) -> AsyncIterator[Several]:  # fmt: skip
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serve(DoubleOptions(**double))) for double in doubles]
        options = options_for(servers, limits or {}, **teacher)
        governor = Governor(options)
        worker = TeacherWorker(
            options,
            governor=LocalGovernor(governor),
            index=build_index(segment_paths(folder)),
            ledger_folder=folder,
            api_keys=keys_for(len(doubles)),
            backoff=QUICK,
        )
        try:
            yield Several(servers, governor, worker, folder)
        finally:
            await worker.close()


def test_all_endpoints_are_used_each_with_its_own_key(tmp_path, prompt):
    async def check() -> None:
        doubles = [{"api_key": f"sk-{at}", "latency_s": [0.05, 0.1]} for at in range(3)]
        async with several(tmp_path, *doubles, limits={"max_in_flight": 4}) as bench:
            outcomes = await asyncio.gather(*(bench.worker.ask(prompt(f"{i}")) for i in range(60)))
            assert all(isinstance(one(outcome), Reply) for outcome in outcomes)
            assert sum(bench.asked()) == 60
            assert min(bench.asked()) >= 10
            assert max(double.stats.max_in_flight for double in bench.doubles) <= 4
            assert [endpoint.calls for endpoint in bench.governor.status().endpoints] != [60, 0, 0]

    run(check())


def test_more_goes_where_more_is_free(tmp_path, prompt):
    async def check() -> None:
        quick, slow = {"latency_s": [0.01, 0.01]}, {"latency_s": [0.4, 0.4]}
        async with several(tmp_path, quick, slow, limits={"max_in_flight": 4}) as bench:
            await asyncio.gather(*(bench.worker.ask(prompt(f"{i}")) for i in range(100)))
            assert bench.asked()[0] > 2 * bench.asked()[1] > 0

    run(check())


@pytest.mark.parametrize("fault", ["401", "403", "404", "insufficient_quota", "429:3600"])
def test_an_endpoint_that_will_not_answer_is_taken_out_and_the_rest_go_on(tmp_path, prompt, caplog, fault):
    async def check() -> None:
        async with several(tmp_path, {"always": fault}, {}, limits={"max_in_flight": 4}) as bench:
            outcomes = await asyncio.gather(*(bench.worker.ask(prompt(f"{i}")) for i in range(40)))
            assert all(isinstance(one(outcome), Reply) for outcome in outcomes)
            assert bench.asked()[0] <= 4  # those that were in flight together
            assert bench.doubles[1].stats.samples == 40
            assert bench.governor.status().stop is None
            assert bench.governor.status().endpoints[0].out
            assert len(list(iter_replies(segment_paths(tmp_path)))) == 40

    with caplog.at_level(logging.WARNING):
        run(check())
    assert sum("is used no more" in line for line in caplog.messages) == 1


def test_when_all_are_out_the_run_stops_with_every_reason(tmp_path, prompt):
    async def check() -> None:
        async with several(tmp_path, {"always": "401"}, {"always": "insufficient_quota"}) as bench:
            failures = [one(outcome) for outcome in await asyncio.gather(*(bench.worker.ask(prompt(f"{i}")) for i in range(9)))]  # fmt: skip
            assert {failure.reason for failure in failures if isinstance(failure, Failure)} == {"stopped"}
            stop = str(bench.governor.status().stop)
            for double, reason in zip(bench.doubles, ("refused the API key (401)", "quota is exhausted"), strict=True):  # fmt: skip
                assert f"{double.base_url}: " in stop
                assert reason in stop
            assert "sk-" not in stop

    run(check())


@pytest.mark.parametrize("fault", ["500", "reset"])
def test_an_endpoint_that_fails_is_avoided_then_taken_out(tmp_path, prompt, fault):
    """It fails at once and so looks free: what waits must not all run into it."""

    async def check() -> None:
        teacher = {"give_up_after": 1.0}
        doubles = [{"always": fault}, {"latency_s": [0.02, 0.05]}]
        async with several(tmp_path, *doubles, limits={"max_in_flight": 4}, **teacher) as bench:
            number = 0
            while bench.governor.status().endpoints[0].out is None:
                asks = [bench.worker.ask(prompt(f"{number}/{i}")) for i in range(10)]
                assert all(isinstance(one(outcome), Reply) for outcome in await asyncio.gather(*asks))
                number += 1
            assert "gave no reply for" in bench.governor.status().endpoints[0].out
            assert bench.asked()[0] < bench.asked()[1]

    run(check(), within_s=60)


def test_a_pause_of_one_endpoint_is_no_pause_of_the_other(tmp_path, prompt):
    async def check() -> None:
        async with several(tmp_path, {"script": ["429:4"] * 9}, {}, limits={"max_in_flight": 2}) as bench:
            started = asyncio.get_running_loop().time()
            await asyncio.gather(*(bench.worker.ask(prompt(f"{i}")) for i in range(20)))
            assert asyncio.get_running_loop().time() - started < 4
            assert bench.asked()[0] <= 2

    run(check())


def test_a_reply_bought_at_one_endpoint_answers_for_all(tmp_path, prompt):
    async def check() -> None:
        async with several(tmp_path, {}, {}) as bench:
            bought = await bench.worker.ask(prompt(num_samples=2))
        async with several(tmp_path, {"always": "401"}) as bench:
            assert await bench.worker.ask(prompt(num_samples=2)) == bought
            assert bench.asked() == [0]

    run(check())


def test_before_a_run_each_endpoint_is_asked_whether_it_would_answer():
    async def check() -> None:
        async with serve(DoubleOptions(api_key="sk-0")) as good, serve(DoubleOptions(api_key="other")) as bad:
            faults = await check_endpoints(options_for([good, bad], {}), keys_for(2))
            assert [endpoint.base_url for endpoint in faults] == [bad.base_url]

    run(check())


def test_limits_in_the_headers_of_replies_reach_the_governor(tmp_path, prompt):
    async def tell_limits(request: web.Request) -> web.Response:
        return web.json_response(
            {"choices": [{"message": {"content": "The answer is: 2"}, "finish_reason": "stop"}]},
            headers={
                "x-ratelimit-limit-requests": "600",
                "x-ratelimit-remaining-requests": "590",
                "x-ratelimit-reset-requests": "1s",
            },
        )

    async def check() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", tell_limits)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        options = TeacherOptions(base_url=url, model=MODEL)
        governor = Governor(options)
        worker = TeacherWorker(
            options,
            governor=LocalGovernor(governor),
            index=build_index([]),
            ledger_folder=tmp_path,
            api_keys={"OPENAI_API_KEY": ApiKey("k")},
        )
        assert isinstance(one(await worker.ask(prompt())), Reply)
        await worker.report()
        assert governor.status().endpoints[0].rpm == 600
        await worker.close()
        await runner.cleanup()

    run(check())


@pytest.mark.parametrize("num_workers", [1, 8])
def test_endpoints_together_give_the_sum_of_their_rates_and_none_exceeds_its_own(num_workers):
    rpms = (600, 1200, 3000)
    endpoints = [{"base_url": f"http://h{rpm}/v1", "rpm": rpm, "max_in_flight": 1000} for rpm in rpms]
    load = Load(TeacherOptions(endpoints=endpoints), num_workers, 240 // num_workers)
    load.run(150)
    for at, rpm in enumerate(rpms):
        assert most_in_a_window(load.starts_at(at)) <= rpm
    assert load.rate_behind(10, 130) >= 0.97 * sum(rpms)
