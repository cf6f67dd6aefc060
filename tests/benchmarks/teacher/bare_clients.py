"""CPU time a call of clients without a governor and without a ledger, each in a process of its own.

    python tests/benchmarks/teacher/bare_clients.py aiohttp|openai|openai-aiohttp BASE_URL NUM_CALLS CONCURRENCY

Prints user and system time of this process a call, in milliseconds; the first tenth of the calls is left out.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

from prompts import MODEL, SAMPLING, messages_for

Call = Callable[[int], Awaitable[object]]


async def with_aiohttp(base_url: str, concurrency: int, work: Callable[[Call], Awaitable[float]]) -> float:
    """A bare loop: the body as JSON out, the text of the first choice in."""
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def call(number: int) -> str:
            body = {"model": MODEL, "messages": messages_for(number), **SAMPLING}
            async with session.post(f"{base_url}/chat/completions", json=body) as response:
                answer = json.loads(await response.read())
                return str(answer["choices"][0]["message"]["content"])

        return await work(call)


async def with_openai(
    base_url: str, _: int, work: Callable[[Call], Awaitable[float]], *, aiohttp: bool
) -> float:
    """The `openai` client's typed call, over httpx as it comes or over its aiohttp transport."""
    from openai import AsyncOpenAI, DefaultAioHttpClient

    extra = {"http_client": DefaultAioHttpClient()} if aiohttp else {}
    async with AsyncOpenAI(base_url=base_url, api_key="k", max_retries=0, **extra) as client:

        async def call(number: int) -> str:
            answer = await client.chat.completions.create(
                model=MODEL, messages=messages_for(number), **SAMPLING
            )
            return str(answer.choices[0].message.content)

        return await work(call)


def worker(num_calls: int, concurrency: int) -> Callable[[Call], Awaitable[float]]:
    """Makes the calls, so many at once, and gives CPU seconds a call behind the first tenth."""

    async def work(call: Call) -> float:
        numbers = iter(range(num_calls))
        marks: list[float] = []

        async def caller() -> None:
            for number in numbers:
                await call(number)
                marks.append(time.process_time())

        await asyncio.gather(*(caller() for _ in range(concurrency)))
        first = len(marks) // 10
        return (marks[-1] - marks[first]) / (len(marks) - 1 - first)

    return work


def main() -> None:
    kind, base_url, num_calls, concurrency = sys.argv[1:]
    work = worker(int(num_calls), int(concurrency))
    if kind == "aiohttp":
        seconds = asyncio.run(with_aiohttp(base_url, int(concurrency), work))
    else:
        over_aiohttp = kind == "openai-aiohttp"
        seconds = asyncio.run(with_openai(base_url, int(concurrency), work, aiohttp=over_aiohttp))
    print(f"{seconds * 1000:.3f}")


if __name__ == "__main__":
    main()
