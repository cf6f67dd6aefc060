"""Replies bought through the provider's batch interface, over real HTTP: each once, whatever happens meanwhile."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import batch_driver
import pytest
from batch_double import BatchOptions
from batch_driver import NUM_PROMPTS, NUM_SAMPLES, SAMPLES_A_PROMPT, batch_options, open_teacher, requests
from teacher_double import DoubleOptions, TeacherDouble, serve

from metamath_ray.teacher import (
    ApiKey,
    BatchTeacher,
    ChatRequest,
    Failure,
    Reply,
    TeacherOptions,
    TeacherStoppedError,
    iter_replies,
    segment_paths,
    sum_usage,
)
from metamath_ray.teacher._batch_client import BatchClient
from metamath_ray.teacher._batch_journal import BatchJournal
from metamath_ray.teacher._health import Backoff

QUICK = Backoff(first_s=0.01, max_s=0.05)
PRICED = {"usd_per_million_prompt_tokens": 1000.0, "usd_per_million_completion_tokens": 1000.0}

StartDouble = Callable[..., TeacherDouble]


@contextmanager
def _in_thread(options: DoubleOptions) -> Iterator[TeacherDouble]:
    loop, started = asyncio.new_event_loop(), threading.Event()
    found: list[TeacherDouble] = []
    ended = asyncio.Event()

    async def live() -> None:
        async with serve(options) as double:
            found.append(double)
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(live()), daemon=True)
    thread.start()
    assert started.wait(60)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


@pytest.fixture
def start_double() -> Iterator[StartDouble]:
    """A double on a thread of its own: the teacher in batches blocks the one that it is used on."""
    with ExitStack() as stack:

        def start(batch: dict[str, Any] | None = None, **options: Any) -> TeacherDouble:
            return stack.enter_context(
                _in_thread(DoubleOptions(**options, batch=BatchOptions(**batch or {})))
            )

        yield start


def buy(folder: Path, double: TeacherDouble, budget_usd: float | None = None, **options: Any) -> BatchTeacher:
    """What the driver does, in this process, to the end."""
    given = batch_options(double.base_url, **options)
    client = BatchClient(given, ApiKey("sk-right"), backoff=QUICK)
    teacher = open_teacher(folder, given, client=client, budget_usd=budget_usd)
    try:
        teacher.buy(requests)
    finally:
        teacher.close()
    return teacher


def stored(folder: Path) -> list[Reply]:
    return list(iter_replies(segment_paths(folder / "ledger")))


def check_all_bought_once(folder: Path, double: TeacherDouble) -> None:
    replies = stored(folder)
    assert len({reply.key for reply in replies}) == len(replies) == NUM_SAMPLES
    assert double.stats.samples == NUM_SAMPLES


def test_every_reply_is_in_the_ledger_at_the_price_of_batches(tmp_path: Path, start_double) -> None:
    double = start_double()
    teacher = buy(tmp_path, double, **PRICED)
    check_all_bought_once(tmp_path, double)
    usage = sum_usage(segment_paths(tmp_path / "ledger"))
    assert usage.batch_prompt_tokens == usage.prompt_tokens > 0
    full = (usage.prompt_tokens + usage.completion_tokens) / 1000
    assert teacher.counters.usd == pytest.approx(full / 2)
    assert usage.usd(TeacherOptions(**PRICED)) == pytest.approx(full / 2)
    assert teacher.counters.calls_made == NUM_PROMPTS
    assert {type(outcome) for request in requests() for outcome in teacher.outcomes(request)} == {Reply}


def test_a_second_run_asks_the_provider_for_nothing(tmp_path: Path, start_double) -> None:
    double = start_double()
    buy(tmp_path, double)
    calls = double.stats.batch.calls
    assert buy(tmp_path, double).num_bought == 0
    assert double.stats.batch.calls == calls


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        pytest.param({"max_requests": 3}, "most_requests", id="by-count"),
        pytest.param({"max_requests": 9, "max_megabytes": 0.0008}, "most_bytes", id="by-size"),
    ],
)
def test_files_keep_to_their_limits(tmp_path: Path, start_double, limits: dict, most: str) -> None:
    double = start_double({"max_bytes": 800})
    buy(tmp_path, double, batch=limits)
    check_all_bought_once(tmp_path, double)
    assert double.stats.batch.batches == 4
    assert getattr(double.stats.batch, most) <= {"most_requests": 3, "most_bytes": 800}[most]


@pytest.mark.parametrize("end", ["expired:0.5", "short:0.5", "expired:0"])
def test_what_a_batch_left_undone_is_asked_again_and_nothing_else(
    tmp_path: Path, start_double, end: str
) -> None:
    double = start_double({"script": [end]})
    buy(tmp_path, double, batch={"max_requests": 10})
    check_all_bought_once(tmp_path, double)
    assert double.stats.batch.batches == 2
    assert double.stats.batch.requests == NUM_PROMPTS


def test_a_cancelled_batch_gives_what_it_has_and_ends_the_run(tmp_path: Path, start_double) -> None:
    double = start_double({"script": ["cancelled:0.5"]})
    with pytest.raises(TeacherStoppedError, match="batch batch_0 was cancelled at the provider"):
        buy(tmp_path, double, batch={"max_requests": 10})
    assert len(stored(tmp_path)) == NUM_SAMPLES // 2 // SAMPLES_A_PROMPT * SAMPLES_A_PROMPT
    buy(tmp_path, double)
    check_all_bought_once(tmp_path, double)


@pytest.mark.parametrize("fault", ["429", "500", "empty", "null_content", "no_choices", "fewer"])
def test_a_line_without_a_reply_is_asked_again(tmp_path: Path, start_double, fault: str) -> None:
    double = start_double(script=["ok", fault, "ok"])
    teacher = buy(tmp_path, double)
    assert len(stored(tmp_path)) == NUM_SAMPLES
    assert teacher.failures == {}


@pytest.mark.parametrize("habit", ["reject_n", "ignore_n"])
def test_an_endpoint_without_n_gives_all_samples_one_by_one(tmp_path: Path, start_double, habit: str) -> None:
    double = start_double(**{habit: True})
    buy(tmp_path, double)
    check_all_bought_once(tmp_path, double)


@pytest.mark.parametrize(
    ("fault", "reason", "asked"),
    [
        pytest.param("context_too_long", "rejected", 1, id="rejected"),
        pytest.param("empty", "empty", 3, id="empty"),
        pytest.param("500", "unanswered", 5, id="fails-where-others-are-answered"),
    ],
)
def test_what_is_never_answered_is_given_up_and_the_rest_bought(
    tmp_path: Path, start_double, fault: str, reason: str, asked: int
) -> None:
    double = start_double(always=fault, always_for="What is 7 + 1?")
    teacher = buy(tmp_path, double)
    outcomes = [outcome for request in requests() for outcome in teacher.outcomes(request)]
    assert [o.reason for o in outcomes if isinstance(o, Failure)] == [reason] * SAMPLES_A_PROMPT
    assert len(stored(tmp_path)) == NUM_SAMPLES - SAMPLES_A_PROMPT
    assert len(double.stats.batch.ids) == NUM_PROMPTS - 1 + asked
    if reason != "unanswered":  # another day may be a better one
        assert buy(tmp_path, double).failures == teacher.failures
        assert len(double.stats.batch.ids) == NUM_PROMPTS - 1 + asked


@pytest.mark.parametrize(
    ("behaviour", "line"),
    [
        pytest.param({"api_key": "sk-other"}, "refused the API key", id="key"),
        pytest.param({"models": ["other"]}, "refused batch batch_0: model_not_found", id="model"),
        pytest.param({"batch": {"always": "failed:insufficient_quota"}}, "quota is exhausted", id="quota"),
        pytest.param({"batch": {"faults": ["insufficient_quota"]}}, "quota is exhausted", id="quota-at-once"),
        pytest.param({"always": "insufficient_quota"}, "quota is exhausted", id="quota-in-the-lines"),
        pytest.param({"batch": {"always": "failed:invalid_json_line"}}, "invalid_json_line", id="refused"),
        pytest.param({"always": "500"}, "3 batches in a row brought no answer, last: http_500", id="silent"),
        pytest.param({"batch": {"always": "expired:0"}}, "no answer, last: batch_expired", id="expires"),
        pytest.param({"batch": {"faults": ["404"]}}, "is there a batch interface at http", id="no-such-path"),
        pytest.param({"batch": {"faults": ["400"]}}, "batch interface refused: 400", id="refused-at-once"),
    ],
)
def test_a_provider_that_refuses_ends_the_run(
    tmp_path: Path, start_double, behaviour: dict, line: str
) -> None:
    double = start_double(**behaviour)
    with pytest.raises(TeacherStoppedError, match=line):
        buy(tmp_path, double)
    assert stored(tmp_path) == []
    double.change(api_key="", models=["double-1"], batch=BatchOptions(), always="ok")
    buy(tmp_path, double)
    check_all_bought_once(tmp_path, double)


def test_what_fails_on_the_way_is_tried_again(tmp_path: Path, start_double) -> None:
    double = start_double({"faults": ["500", "ok", "503", "ok", "ok", "429", "500"]})
    buy(tmp_path, double)
    check_all_bought_once(tmp_path, double)


def test_a_full_queue_takes_less_at_a_time(tmp_path: Path, start_double) -> None:
    double = start_double({"queue_tokens": 300, "seconds": 0.1})
    buy(tmp_path, double, batch={"max_requests": 10})
    check_all_bought_once(tmp_path, double)


def test_the_budget_holds_and_the_run_goes_on_with_more_of_it(tmp_path: Path, start_double) -> None:
    double = start_double()
    price = {"max_tokens": 60, **PRICED}
    with pytest.raises(TeacherStoppedError, match=r"the budget of 0\.3 USD is spent but for"):
        buy(tmp_path, double, budget_usd=0.3, **price)
    usage = sum_usage(segment_paths(tmp_path / "ledger"))
    assert 0.1 < usage.usd(TeacherOptions(**PRICED)) <= 0.3
    buy(tmp_path, double, budget_usd=5.0, **price)
    check_all_bought_once(tmp_path, double)


class _EndedError(BaseException):
    """The process ends here."""


_POINTS = [
    (owner, name, when)
    for owner, names in {
        BatchClient: ["upload", "create", "look", "download"],
        BatchJournal: ["write"],
        BatchTeacher: ["_store", "_fly"],
    }.items()
    for name in names
    for when in ("before", "after")
]


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize(
    ("owner", "name", "when"), _POINTS, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_run_that_ends_anywhere_goes_on_and_buys_nothing_twice(
    tmp_path: Path, start_double, monkeypatch, owner: type, name: str, when: str, nth: int
) -> None:
    double = start_double({"script": ["completed", "expired:0.5"]}, random_replies=True)
    real, calls = getattr(owner, name), 0

    def ending(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and when == "before":
            raise _EndedError
        result = real(*args, **kwargs)
        if calls == nth:
            raise _EndedError
        return result

    monkeypatch.setattr(owner, name, ending)
    try:
        buy(tmp_path, double)
    except _EndedError:
        monkeypatch.undo()
        buy(tmp_path, double)
    check_all_bought_once(tmp_path, double)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["upload", "create", "look", "download"])
def test_a_killed_process_has_bought_nothing_that_is_bought_again(
    tmp_path: Path, start_double, moment: str
) -> None:
    """`kill -9` in the middle of each kind of call, behind what the server does and before it is answered."""
    double = start_double({"hold": moment}, random_replies=True)
    command = [sys.executable, batch_driver.__file__, str(tmp_path), double.base_url]
    process = subprocess.Popen(command)
    while double.stats.batch.held != moment:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    double.change(batch=BatchOptions())
    buy(tmp_path, double)
    check_all_bought_once(tmp_path, double)
    assert double.stats.batch.requests == NUM_PROMPTS


def test_each_reply_of_a_file_that_is_read_twice_stays_that_of_its_sample(
    tmp_path: Path, start_double, monkeypatch
) -> None:
    """A process that ended after it had stored one of a request's three replies: the others are not moved up."""
    double = start_double(random_replies=True)
    real = BatchTeacher._store

    def store_one(self: BatchTeacher, replies: list[Any]) -> None:
        real(self, replies[:1])
        raise _EndedError

    monkeypatch.setattr(BatchTeacher, "_store", store_one)
    with pytest.raises(_EndedError):
        buy(tmp_path, double)
    monkeypatch.undo()
    buy(tmp_path, double)
    check_all_bought_once(tmp_path, double)
    assert len({reply.text for reply in stored(tmp_path)}) == NUM_SAMPLES


def test_requests_that_follow_from_replies_are_bought_too(tmp_path: Path, start_double) -> None:
    double = start_double()
    options = batch_options(double.base_url)
    teacher = open_teacher(tmp_path, options)
    first = ChatRequest(({"role": "user", "content": "Say it in other words"},))

    def growing() -> Iterator[ChatRequest]:
        yield first
        for outcome in teacher.outcomes(first):
            if isinstance(outcome, Reply):
                yield ChatRequest(({"role": "user", "content": outcome.text},))

    teacher.buy(growing)
    assert double.stats.samples == len(stored(tmp_path)) == 2
    teacher.close()


def test_batches_take_one_address() -> None:
    with pytest.raises(ValueError, match="interface batch needs base_url"):
        TeacherOptions(interface="batch")
