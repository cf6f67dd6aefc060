"""The ledger: every reply once, found again, and nothing lost that was on disk."""

import errno
import json
import logging
import os
import random
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from asking import make_reply, write_replies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metamath_ray.teacher import (
    LedgerDamagedError,
    LedgerReader,
    build_index,
    iter_replies,
    segment_paths,
)
from metamath_ray.teacher._segments import SegmentWriter, decode_reply, encode_record, is_intact

ROOT = Path(__file__).resolve().parents[3]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@settings(max_examples=200)
@given(text=st.text(), user=st.text(), number=st.integers(0, 2**63))
def test_any_reply_survives_its_record(text, user, number):
    reply = make_reply(number, text)
    line = encode_record(reply, {"user": user})
    assert is_intact(line)
    assert line.count(b"\n") == 1
    assert decode_reply(line) == reply


def test_a_lone_surrogate_survives_its_record():
    reply = make_reply(text="\ud83d broken")
    assert decode_reply(encode_record(reply, {})) == reply


def test_the_line_format_stays_as_it_was_recorded():
    line = encode_record(make_reply(1, "Zwölf."), {"user": "6 + 6?", "prompt": "ab", "time": 7})
    body = (
        '"key":"' + f"{1:064x}" + '","completion_tokens":5,"finish_reason":"stop","model":"m","prompt":"ab",'
        '"prompt_tokens":10,"sample_index":1,"text":"Zwölf.","time":7,"user":"6 + 6?"}'
    ).encode()
    assert line == b'{"crc":"%08x",' % zlib.crc32(body) + body + b"\n"


def test_a_torn_last_record_is_dropped_with_a_warning(tmp_path, caplog):
    path = write_replies(tmp_path, [make_reply(0), make_reply(1)])
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    for size in (second + 1, second + 40, len(whole) - 1):
        path.write_bytes(whole[:size])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert list(iter_replies([path])) == [make_reply(0)]
        assert f"{path}: dropped a torn last record" in caplog.text
        assert f"at byte {second}" in caplog.text


def test_a_tail_of_zeros_counts_as_torn(tmp_path):
    path = write_replies(tmp_path, [make_reply(0)])
    path.write_bytes(path.read_bytes() + bytes(100))
    assert list(iter_replies([path])) == [make_reply(0)]


@pytest.mark.parametrize("where", [3, 12, 30, 120, -2], ids=str)
@pytest.mark.parametrize("record", [0, 1, 2])
def test_any_other_damage_names_file_and_offset(tmp_path, record, where):
    path = write_replies(tmp_path, [make_reply(number) for number in range(3)])
    lines = path.read_bytes().splitlines(keepends=True)
    begin = sum(len(line) for line in lines[:record])
    flip(path, begin + (where if where > 0 else len(lines[record]) + where))
    with pytest.raises(LedgerDamagedError) as error:
        build_index([path])
    assert f"{path} is damaged at byte {begin}" in str(error.value)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_bit_passes_as_another_reply(tmp_path, data):
    line = encode_record(make_reply(7), {"user": "x"})
    at = data.draw(st.integers(0, len(line) * 8 - 1))
    damaged = bytearray(line)
    damaged[at // 8] ^= 1 << at % 8
    path = tmp_path / "x.ledger.jsonl"
    path.write_bytes(bytes(damaged) + line)
    with pytest.raises(LedgerDamagedError):
        list(iter_replies([path]))


def test_the_index_finds_every_reply_and_no_other(tmp_path):
    chance = random.Random(1)
    replies = [make_reply(chance.getrandbits(250), f"text {number}") for number in range(500)]
    for at in range(0, 500, 100):
        write_replies(tmp_path, replies[at : at + 100])
    index = build_index(segment_paths(tmp_path))
    reader = LedgerReader(index)
    assert len(index) == 500
    assert [reader.get(reply.key) for reply in replies] == replies
    assert reader.get("f" * 64) is None
    assert reader.get(replies[0].key[:16] + "0" * 48) is None  # the same first 64 bits
    reader.close()


def count_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_ledger_of_very_many_segments_is_read_with_few_files_open(tmp_path):
    replies = [make_reply(number) for number in range(300)]
    for at in replies:
        write_replies(tmp_path, [at])
    open_before = count_open_files()
    reader = LedgerReader(build_index(segment_paths(tmp_path)))
    for _ in range(2):
        assert [reader.get(reply.key) for reply in replies] == replies
    assert count_open_files() - open_before <= 130
    reader.close()
    assert count_open_files() == open_before


def test_an_empty_ledger_holds_nothing(tmp_path):
    reader = LedgerReader(build_index(segment_paths(tmp_path / "none")))
    assert reader.get("0" * 64) is None


def test_of_two_replies_to_one_request_everybody_gets_the_same(tmp_path):
    """Whether a reader found them in its index, or later, or in whatever order."""
    first = write_replies(tmp_path, [make_reply(1, "one")])
    second = write_replies(tmp_path, [make_reply(1, "two")])
    both, swapped = build_index([first, second]), build_index([second, first])
    late = LedgerReader(build_index([second]))
    late.add_new_records(tmp_path)
    later = LedgerReader(build_index([]))
    later.add_new_records(tmp_path)
    readers = [LedgerReader(both), LedgerReader(swapped), late, later]
    assert len({reader.get(f"{1:064x}") for reader in readers}) == 1


def test_a_reader_follows_segments_that_grow(tmp_path, caplog):
    writer = SegmentWriter(tmp_path)
    writer.append([encode_record(make_reply(0), {})])
    reader = LedgerReader(build_index(segment_paths(tmp_path)))
    line = encode_record(make_reply(1), {})
    with writer.path.open("ab") as file:
        file.write(line[:50])
        file.flush()
        assert reader.add_new_records(tmp_path) == 0
        assert caplog.text == ""  # half a record of a living writer is nothing to warn of
        file.write(line[50:])
    assert reader.add_new_records(tmp_path) == 1
    assert reader.add_new_records(tmp_path) == 0
    assert reader.get(make_reply(1).key) == make_reply(1)


def test_a_segment_that_changes_behind_the_index_is_named(tmp_path):
    path = write_replies(tmp_path, [make_reply(0)])
    reader = LedgerReader(build_index([path]))
    flip(path, 100)
    with pytest.raises(LedgerDamagedError, match="changed after it was indexed"):
        reader.get(make_reply(0).key)


def test_a_full_disk_leaves_no_damage_behind(tmp_path, monkeypatch):
    writer = SegmentWriter(tmp_path)
    writer.append([encode_record(make_reply(0), {})])
    write = os.write

    def write_half_then_fail(fd: int, data: memoryview) -> int:
        if len(data) < 50:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[: len(data) // 2])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write_half_then_fail)
        with pytest.raises(OSError, match="No space left"):
            writer.append([encode_record(make_reply(1), {})])
    writer.append([encode_record(make_reply(2), {})])
    assert set(iter_replies(segment_paths(tmp_path))) == {make_reply(0), make_reply(2)}


def test_a_writer_without_a_reply_leaves_no_file(tmp_path):
    SegmentWriter(tmp_path).close()
    assert segment_paths(tmp_path) == []


ASK_AND_TELL = """
import asyncio, json, sys
from pathlib import Path
from metamath_ray.teacher import *
url, folder = sys.argv[1], Path(sys.argv[2])

async def main():
    options = TeacherOptions(base_url=url, model="double-1")
    worker = TeacherWorker(options, governor=LocalGovernor(Governor(options)),
        index=build_index(segment_paths(folder)), ledger_folder=folder, api_keys=read_api_keys(options))
    async def one(number):
        request = ChatRequest(({"role": "user", "content": f"question {number}"},), 0, 2)
        for reply in await worker.ask(request):
            print(json.dumps([reply.key, reply.text]), flush=True)
    await asyncio.gather(*(one(number) for number in range(200)))
    await worker.close()

asyncio.run(main())
"""


def ask_and_tell(url: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ASK_AND_TELL, url, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.mark.slow
def test_what_was_handed_on_is_on_disk_when_a_worker_is_killed(tmp_path, teacher_double):
    """Killed with -9 right behind a reply, twice; a last one finishes and asks for nothing again."""
    double = teacher_double(random_replies=True, latency_s=[0.01, 0.3])
    told: dict[str, str] = {}
    for stop_after in (1, 150, 10_000):
        process = ask_and_tell(double.base_url, tmp_path)
        assert process.stdout is not None
        for count, line in enumerate(process.stdout, start=1):
            key, text = json.loads(line)
            assert told.setdefault(key, text) == text  # the same reply as the one told before
            if count == stop_after:
                process.kill()
        process.wait()
        stored = {reply.key: reply.text for reply in iter_replies(segment_paths(tmp_path))}
        assert told.items() <= stored.items()
    assert len(told) == 400
    stats = double.stats()
    assert stats["samples"] <= 400 + 2 * 64 * 2  # what was in flight at each kill, no more
