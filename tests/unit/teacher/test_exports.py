"""A ledger as one file and back: the same bytes each time, every record checked, damage named."""

import gzip
import lzma
import subprocess
import sys
from pathlib import Path

import pytest
from asking import make_reply, write_replies

from metamath_ray.bootstrap import BuildOptions, read_ledgers
from metamath_ray.bootstrap._ledgers import check_ledgers
from metamath_ray.teacher import (
    LedgerDamagedError,
    LedgerReader,
    Reply,
    build_index,
    export_ledger,
    import_ledger,
    iter_replies,
    segment_paths,
)

ROOT = Path(__file__).resolve().parents[3]
PACKINGS = ["jsonl.gz", "jsonl.xz"]


def make_replies(num: int = 50) -> list[Reply]:
    return [make_reply(number, f"text {number}") for number in range(num)]


@pytest.mark.parametrize("packing", PACKINGS)
def test_an_export_holds_each_reply_once_and_is_the_same_whatever_the_segments(tmp_path, packing):
    replies = make_replies()
    write_replies(tmp_path / "a", replies, user="x", time=1)
    for reply in reversed(replies):
        write_replies(tmp_path / "b", [reply], user="x", time=1)
    write_replies(tmp_path / "b", replies[:20], user="x", time=1)
    exported = [tmp_path / f"{name}.{packing}" for name in ("a", "b")]
    assert [export_ledger(file.parent / file.name[0], file) for file in exported] == [50, 50]
    assert exported[0].read_bytes() == exported[1].read_bytes()


@pytest.mark.parametrize("packing", PACKINGS)
def test_an_imported_ledger_gives_the_same_replies_and_exports_the_same_bytes(tmp_path, packing):
    write_replies(tmp_path / "a", make_replies(), user="x")
    first, second = tmp_path / f"a.{packing}", tmp_path / f"b.{packing}"
    export_ledger(tmp_path / "a", first)
    path = import_ledger(first, tmp_path / "b", name="imported")
    assert import_ledger(first, tmp_path / "b", name="imported") == path
    assert set(iter_replies(segment_paths(tmp_path / "b"))) == set(make_replies())
    export_ledger(tmp_path / "b", second)
    assert first.read_bytes() == second.read_bytes()


def test_of_two_replies_to_one_request_the_export_holds_the_one_that_readers_give(tmp_path):
    for text in ("one", "two", "three"):
        write_replies(tmp_path / "a", [make_reply(1, text)])
    assert export_ledger(tmp_path / "a", tmp_path / "a.jsonl.gz") == 1
    import_ledger(tmp_path / "a.jsonl.gz", tmp_path / "b", name="imported")
    a, b = (LedgerReader(build_index(segment_paths(tmp_path / name))) for name in "ab")
    assert a.get(make_reply(1).key) == b.get(make_reply(1).key)


def test_an_exported_file_is_replayed_by_a_build(tmp_path):
    write_replies(tmp_path / "a", make_replies())
    export_ledger(tmp_path / "a", tmp_path / "a.jsonl.gz")
    options = BuildOptions(seeds=("x:y",), run_dir=tmp_path / "run", ledger=(tmp_path / "a.jsonl.gz",))
    check_ledgers(options)
    with read_ledgers(options) as ledger:
        assert [ledger.get(reply.key) for reply in make_replies()] == make_replies()


def test_a_file_that_is_no_export_is_refused_before_the_build(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}")
    with pytest.raises(ValueError, match=r"rows\.jsonl is no exported ledger \(\.jsonl\.gz or"):
        check_ledgers(BuildOptions(seeds=("x:y",), ledger=(tmp_path / "rows.jsonl",)))


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def change_line(packed: bytes, number: int) -> bytes:
    lines = gzip.decompress(packed).splitlines(keepends=True)
    lines[number] = flip(lines[number], 100)
    return gzip.compress(b"".join(lines))


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        pytest.param(lambda packed: packed[:-4], "damaged behind line 50", id="cut"),
        pytest.param(lambda packed: packed[: len(packed) // 2], "damaged behind line", id="half"),
        pytest.param(lambda packed: flip(packed, len(packed) // 2), "damaged (behind|in) line", id="a bit"),
        pytest.param(lambda packed: flip(packed, len(packed) - 6), "damaged behind line 50", id="sum"),
        pytest.param(
            lambda packed: change_line(packed, 7), "damaged in line 8: the record fails", id="line 8"
        ),
        pytest.param(
            lambda packed: gzip.compress(gzip.decompress(packed)[:-9]), "damaged in line 50", id="cut before"
        ),
        pytest.param(lambda packed: b"{}" + packed, "neither gzip nor xz", id="another file"),
        pytest.param(
            lambda packed: lzma.compress(gzip.decompress(packed))[:-30], "damaged behind line", id="xz cut"
        ),
    ],
)
def test_a_damaged_export_is_named_and_leaves_nothing(tmp_path, damage, line):
    write_replies(tmp_path / "a", make_replies())
    packed = tmp_path / "a.jsonl.gz"
    export_ledger(tmp_path / "a", packed)
    packed.write_bytes(damage(packed.read_bytes()))
    with pytest.raises(LedgerDamagedError, match=rf"a\.jsonl\.gz is .*{line}"):
        import_ledger(packed, tmp_path / "b", name="imported")
    assert list((tmp_path / "b").iterdir()) == []


def test_a_damaged_ledger_is_not_exported(tmp_path):
    path = write_replies(tmp_path / "a", make_replies())
    path.write_bytes(flip(path.read_bytes(), 100))
    with pytest.raises(LedgerDamagedError, match="is damaged at byte 0"):
        export_ledger(tmp_path / "a", tmp_path / "a.jsonl.gz")
    assert not list(tmp_path.glob("*.jsonl.gz*"))


def export_by_job(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / "export_ledger.py"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_job_exports_a_run(tmp_path):
    write_replies(tmp_path / "run" / "ledger", make_replies())
    done = export_by_job("--run-dir", tmp_path / "run", "--output", tmp_path / "a.jsonl.gz")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["50 replies, 0.0 MB", str(tmp_path / "a.jsonl.gz")]
    import_ledger(tmp_path / "a.jsonl.gz", tmp_path / "b", name="imported")
    assert set(iter_replies(segment_paths(tmp_path / "b"))) == set(make_replies())


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--run-dir", "none", "--output", "a.jsonl.gz"], "--run-dir none holds no ledger"),
        (["--run-dir", "none", "--output", "a.zip"], "output must end in .jsonl.gz or .jsonl.xz, got a.zip"),
    ],
    ids=["no ledger", "name"],
)
def test_the_job_says_in_one_line_what_it_can_not_do(args, line):
    done = export_by_job(*args)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1
