"""A worker's side of the governor: waits, is refused, gives back."""

import asyncio

import pytest

from metamath_ray.teacher import Governor, LocalGovernor, TeacherOptions
from metamath_ray.teacher._demands import Demand, Lease
from metamath_ray.teacher._leases import LeaseHolder, TeacherStoppedError


def test_a_governor_lost_for_good_fails_what_waits():
    class Lost:
        async def lease(self, worker: str, demand: Demand) -> Lease:
            raise ConnectionError("the governor is gone")

        async def take_out(self, endpoint: int, reason: str) -> str | None:
            raise AssertionError

    async def check() -> None:
        holder = LeaseHolder(Lost())
        results = await asyncio.gather(*(holder.acquire() for _ in range(3)), return_exceptions=True)
        assert [str(result) for result in results] == ["the governor is gone"] * 3

    asyncio.run(asyncio.wait_for(check(), 60))


def test_a_stop_reaches_those_that_wait():
    async def check() -> None:
        governor = Governor(TeacherOptions(max_in_flight=1))
        holder = LeaseHolder(LocalGovernor(governor))
        await holder.acquire()
        waiting = asyncio.create_task(holder.acquire())
        await asyncio.sleep(0.01)
        governor.stop("enough")
        with pytest.raises(TeacherStoppedError, match="enough"):
            await waiting

    asyncio.run(asyncio.wait_for(check(), 60))


def test_a_worker_at_rest_holds_no_slots():
    async def check() -> None:
        governor = Governor(TeacherOptions(max_in_flight=4))
        holder = LeaseHolder(LocalGovernor(governor))
        for _ in range(4):
            await holder.acquire()
        for _ in range(4):
            holder.release(0)
        while governor.status().in_flight:
            await asyncio.sleep(0.01)  # for it to say so; the limit below ends the wait
        assert governor.lease("other", Demand(waiting=100)).slots == 4

    asyncio.run(asyncio.wait_for(check(), 60))
