"""The store: what arrived survives, torn tails are asked again, nothing stale is mixed in."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metamath_ray.evaluation import (
    BadPredictionsError,
    JournalDamagedError,
    JournalInUseError,
    PredictionStore,
    fingerprint_model,
    grade_predictions,
    load_predictions,
    predictions_path,
    write_predictions,
)
from metamath_ray.evaluation._journal import decode_journal, encode_completion

from .conftest import complete, make_requests


def journal_of(output: Path) -> Path:
    return output / "predictions" / "gsm8k.journal.jsonl"


def store_of(output: Path, requests) -> PredictionStore:
    return PredictionStore(output, "gsm8k", requests=requests)


def test_a_second_run_lacks_nothing_that_was_saved(tmp_path):
    requests = make_requests(5)
    with store_of(tmp_path, requests) as store:
        assert store.missing == requests
        store.add([complete(requests[3]), complete(requests[0])])
    with store_of(tmp_path, requests) as store:
        assert store.num_reused == 2
        assert store.missing == (requests[1], requests[2], requests[4])


def test_a_tail_torn_at_any_byte_costs_only_the_completion_it_cut():
    completions = [complete(request) for request in make_requests(4)]
    lines = [encode_completion(completion) for completion in completions]
    ends = [sum(map(len, lines[: number + 1])) for number in range(4)]
    content = b"".join(lines)
    for size in range(len(content) + 1):
        kept = sum(end <= size for end in ends)
        found, end = decode_journal(content[:size], label="j")
        assert found == tuple(completions[:kept])
        assert end == (ends[kept - 1] if kept else 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_kills_an_evaluation_it_ends_with_each_problem_once(tmp_path, data):
    requests = make_requests(6, samples=1)
    journal = journal_of(tmp_path)
    journal.unlink(missing_ok=True)
    for _ in range(data.draw(st.integers(1, 4), label="kills")):
        with store_of(tmp_path, requests) as store:
            arrived = data.draw(st.lists(st.sampled_from(requests), max_size=8), label="arrived")
            store.add(map(complete, arrived))
        size = len(journal.read_bytes())
        os.truncate(journal, data.draw(st.integers(max(0, size - 300), size), label="size after the kill"))
    whole = journal.read_bytes().count(b"\n")
    with store_of(tmp_path, requests) as store:
        assert len(store.missing) == len(requests) - whole
        store.add(map(complete, store.missing))
        predictions = store.ungraded()
    assert journal.read_bytes().count(b"\n") == len(requests)
    write_predictions(tmp_path / "t.parquet", predictions, num_expected=len(requests))


@pytest.mark.parametrize("tail", [b"\0" * 40, b"\r", b'{"crc":"', b'{"crc":"00000000","key":1}'], ids=repr)
def test_a_tail_without_a_newline_is_dropped(tmp_path, tail, caplog):
    requests = make_requests(2)
    with store_of(tmp_path, requests) as store:
        store.add([complete(requests[0])])
    with journal_of(tmp_path).open("ab") as file:
        file.write(tail)
    with store_of(tmp_path, requests) as store:
        assert store.missing == requests[1:]
    assert f"dropped a torn last record, {len(tail)} bytes" in caplog.text


def test_a_flipped_byte_anywhere_is_an_error_or_a_torn_tail(tmp_path):
    content = b"".join(encode_completion(complete(request)) for request in make_requests(2))
    first = content.index(b"\n") + 1
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        if place == len(content) - 1:  # the last newline: as if its writer had died
            assert decode_journal(bytes(damaged), label="j")[1] == first
            continue
        with pytest.raises(JournalDamagedError, match=r"^j is damaged at byte \d+"):
            decode_journal(bytes(damaged), label="j")


def test_damage_names_file_and_offset(tmp_path):
    requests = make_requests(2)
    lines = [encode_completion(complete(request)) for request in requests]
    journal_of(tmp_path).parent.mkdir(parents=True)
    journal_of(tmp_path).write_bytes(lines[0] + lines[1].replace(b"sum", b"dum"))
    with pytest.raises(JournalDamagedError, match=rf"gsm8k.journal.jsonl is damaged at byte {len(lines[0])}"):
        store_of(tmp_path, requests)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"prompt": "Other: {}"}, id="prompt"),
        pytest.param({"model": "other"}, id="model"),
        pytest.param({"stop": ("###",)}, id="stop strings"),
        pytest.param({"max_new_tokens": {"gsm8k": 9}}, id="max_new_tokens"),
    ],
)
def test_predictions_of_another_prompt_sampling_or_model_are_never_mixed_in(tmp_path, changed):
    with store_of(tmp_path, make_requests(3)) as store:
        store.add(map(complete, store.missing))
    requests = make_requests(3, **changed)
    with store_of(tmp_path, requests) as store:
        assert store.missing == requests
        assert store.ungraded() == ()
    with store_of(tmp_path, make_requests(3)) as store:
        assert store.missing == ()


def test_more_problems_or_samples_reuse_what_is_there(tmp_path):
    with store_of(tmp_path, make_requests(2, samples=1)) as store:
        store.add(map(complete, store.missing))
    with store_of(tmp_path, make_requests(3, samples=2)) as store:
        missing = [(request.problem.id, request.sample_index) for request in store.missing]
    assert missing == [
        ("gsm8k-test-0", 2),
        ("gsm8k-test-1", 2),
        ("gsm8k-test-2", 0),
        ("gsm8k-test-2", 1),
        ("gsm8k-test-2", 2),
    ]


def test_of_two_completions_of_a_request_the_first_counts(tmp_path):
    requests = make_requests(1)
    with store_of(tmp_path, requests) as store:
        assert len(store.add([complete(requests[0], "first"), complete(requests[0], "second")])) == 1
        assert store.add([complete(requests[0], "third")]) == ()
        assert [one.completion for one in store.ungraded()] == ["first"]
    assert journal_of(tmp_path).read_bytes().count(b"\n") == 1


def test_a_completion_that_nobody_asked_for_is_our_own_mistake(tmp_path):
    requests = make_requests(1)
    with store_of(tmp_path, requests) as store, pytest.raises(AssertionError, match="nobody asked"):
        store.add([replace(complete(requests[0]), key="0" * 64)])


def test_two_evaluations_cannot_write_to_one_folder(tmp_path):
    requests = make_requests(1)
    with store_of(tmp_path, requests), pytest.raises(JournalInUseError, match="in use by another evaluation"):
        store_of(tmp_path, requests)
    store_of(tmp_path, requests).close()


def test_a_refused_request_is_asked_again_by_the_next_run(tmp_path):
    requests = make_requests(3)
    with store_of(tmp_path, requests) as store:
        store.add([complete(requests[0]), complete(requests[1], "", finish_reason="failed")])
        assert len(store.ungraded()) == 2
    with store_of(tmp_path, requests) as store:
        assert (store.num_reused, store.missing) == (1, requests[1:])
        store.add([complete(requests[1], "now it fits"), complete(requests[2])])
    with store_of(tmp_path, requests) as store:
        assert (store.num_reused, store.missing) == (3, ())
        assert store.ungraded()[1].completion == "now it fits"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_write_that_is_cut_short_leaves_no_half_line(tmp_path, monkeypatch, error):
    requests = make_requests(2)
    with store_of(tmp_path, requests) as store:
        store.add([complete(requests[0])])
        real = os.write

        def short(fd, data):
            if len(data) > 20:
                return real(fd, data[:20])
            raise error

        monkeypatch.setattr(os, "write", short)
        with pytest.raises(type(error)):
            store.add([complete(requests[1], "x" * 13)])
        monkeypatch.undo()
        store.add([complete(requests[1])])
    with store_of(tmp_path, requests) as store:
        assert store.missing == ()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.unit.evaluation.conftest import complete, make_requests
from metamath_ray.evaluation import PredictionStore
requests = make_requests(50)
store = PredictionStore(Path(sys.argv[1]), "gsm8k", requests=requests)
for request in requests[:20]:
    store.add([complete(request)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_added_survives_kill_9(tmp_path):
    root = Path(__file__).parents[3]
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(root)], cwd=root, timeout=120)
    assert process.returncode == -9
    requests = make_requests(50)
    with store_of(tmp_path, requests) as store:
        assert store.missing == requests[20:]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(text=st.text(st.characters(exclude_categories=())))
def test_any_text_survives_journal_and_table(tmp_path, text):
    request = make_requests(1)[0]
    completion = complete(request, text)
    (found,), _ = decode_journal(encode_completion(completion), label="j")
    assert found == completion
    journal_of(tmp_path).unlink(missing_ok=True)
    with store_of(tmp_path, (request,)) as store:
        store.add([completion])
        predictions = grade_predictions(store.ungraded())
    path = write_predictions(predictions_path(tmp_path, "gsm8k"), predictions, num_expected=1)
    assert load_predictions(path) == predictions
    assert predictions[0].completion == text.encode("utf-8", "replace").decode()


def test_the_table_has_each_problem_once_in_the_order_of_the_benchmark(tmp_path):
    requests = make_requests(4, samples=2)
    with store_of(tmp_path, requests) as store:
        store.add(map(complete, reversed(requests)))
        predictions = grade_predictions(store.ungraded())
    path = write_predictions(predictions_path(tmp_path, "gsm8k"), predictions, num_expected=len(requests))
    order = [(one.problem_id, one.sample_index) for one in load_predictions(path)]
    assert order == [(request.problem.id, request.sample_index) for request in requests]
    assert {one.verdict_fixed for one in predictions} == {"correct"}


@pytest.mark.parametrize("rows", [[0], [0, 0], [0, 1, 1]], ids=["one is missing", "one twice", "one more"])
def test_a_table_that_is_not_each_problem_once_is_never_written(tmp_path, rows):
    requests = make_requests(2)
    with store_of(tmp_path, requests) as store:
        store.add(map(complete, requests))
        predictions = store.ungraded()
    with pytest.raises(AssertionError, match="2 expected"):
        write_predictions(tmp_path / "t.parquet", [predictions[row] for row in rows], num_expected=2)
    assert not (tmp_path / "t.parquet").exists()


def test_a_file_that_is_no_table_is_one_clear_line(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(BadPredictionsError, match=r"t\.parquet is missing"):
        load_predictions(path)
    path.write_text("no")
    with pytest.raises(BadPredictionsError, match="can't be read as Parquet") as caught:
        load_predictions(path)
    assert "\n" not in str(caught.value)


def test_a_model_folder_is_known_by_its_contents(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in "ab":
        (tmp_path / name / "config.json").write_text(json.dumps({"layers": 2}))
        (tmp_path / name / "model.safetensors").write_bytes(bytes(3_000_000))
    same = fingerprint_model(str(tmp_path / "a"))
    assert fingerprint_model(str(tmp_path / "b")) == same
    (tmp_path / "b" / "model.safetensors").write_bytes(bytes(2_999_999) + b"\1")
    assert fingerprint_model(str(tmp_path / "b")) != same
    assert fingerprint_model("org/model") == "org/model"


@pytest.mark.parametrize("place", [0, 1_000_000, 12_345_678, 33_333_333, 49_900_000], ids=str)
def test_another_training_of_the_same_model_is_another_model(tmp_path, place):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(50_000_000))
    before = fingerprint_model(str(tmp_path))
    with weights.open("r+b") as file:
        file.seek(place)
        file.write(b"\1" * 250_000)  # one small matrix
    assert fingerprint_model(str(tmp_path)) != before
