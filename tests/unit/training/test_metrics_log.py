"""`metrics.jsonl`: each step once, whatever was killed when."""

import json
import math
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from metamath_ray.step_metrics import StepMetrics, load_metrics, sum_steps
from metamath_ray.training._metrics import MetricsLog


def make_step(step: int, attempt: int = 0) -> StepMetrics:
    return StepMetrics(
        step=step,
        epoch=step / 10,
        loss=1 / 3 + 1 / step,
        learning_rate=2e-5,
        grad_norm=1.5,
        tokens=1000,
        response_tokens=600,
        padded_tokens=1024,
        seconds=0.1,
        tokens_per_s=10_000.0,
        response_tokens_per_s=6_000.0,
        mfu=None,
        peak_memory_bytes=1 << 30,
        time=1_700_000_000.25,
        attempt=attempt,
        rows_digest="0123456789abcdef",
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        for step in (1, 2, 3):
            log.append(make_step(step))
    return path


def test_what_was_appended_is_read_again_to_the_last_bit(path: Path) -> None:
    assert load_metrics(path) == [make_step(1), make_step(2), make_step(3)]


def test_no_file_holds_no_steps(tmp_path: Path) -> None:
    assert load_metrics(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("kept_bytes", [1, 20, -1], ids=["a brace", "half a line", "all but the newline"])
def test_a_torn_last_line_is_dropped(path: Path, kept_bytes: int) -> None:
    whole = path.read_bytes()
    torn = json.dumps(asdict(make_step(4))).encode() + b"\n"
    path.write_bytes(whole + torn[:kept_bytes])
    assert [one.step for one in load_metrics(path)] == [1, 2, 3]
    with MetricsLog(path) as log:
        assert path.read_bytes() == whole
        log.append(make_step(4, attempt=1))
    assert [(one.step, one.attempt) for one in load_metrics(path)] == [(1, 0), (2, 0), (3, 0), (4, 1)]


@pytest.mark.parametrize(("step", "left"), [(0, []), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 3])], ids=str)
def test_a_resumed_run_has_each_step_once(path: Path, step: int, left: list[int]) -> None:
    with MetricsLog(path) as log:
        assert log.last_attempt == 0
        assert log.cut_after(step) == 3 - len(left)
        log.append(make_step(len(left) + 1, attempt=log.last_attempt + 1))
    assert [one.step for one in load_metrics(path)] == [*left, len(left) + 1]
    assert load_metrics(path)[-1].attempt == 1


def test_a_step_that_is_there_is_not_appended_again(path: Path) -> None:
    with MetricsLog(path) as log, pytest.raises(AssertionError, match="step 3 after step 3"):
        log.append(make_step(3))


@pytest.mark.parametrize("value", [math.nan, math.inf], ids=str)
def test_a_loss_that_diverged_is_kept_as_valid_json(tmp_path: Path, value: float) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.append(replace(make_step(1), loss=value, grad_norm=value))
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["loss"] is None
    assert math.isnan(load_metrics(path)[0].loss)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda line: b"{" + line, "line 2 is no JSON", id="no JSON"),
        pytest.param(
            lambda line: b"[]", "line 2: the whole of it: Input should be a dictionary", id="no mapping"
        ),
        pytest.param(lambda line: b'{"step": 2}', "line 2: epoch: Field required", id="a field missing"),
    ],
)
def test_other_damage_names_file_and_line(path: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], damage(lines[1]), *lines[2:]]))
    with pytest.raises(ValueError, match=rf"metrics\.jsonl {said}"):
        MetricsLog(path)


def _append_then_die(path: Path) -> None:
    log = MetricsLog(path)
    for step in range(1, 6):
        log.append(make_step(step))
    os.kill(os.getpid(), signal.SIGKILL)


def test_kill_9_loses_no_appended_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    process = multiprocessing.get_context("fork").Process(target=_append_then_die, args=(path,))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert [one.step for one in load_metrics(path)] == [1, 2, 3, 4, 5]


def test_totals_leave_out_losses_that_are_no_numbers_and_steps_without_mfu() -> None:
    steps = [make_step(step) for step in range(1, 13)]
    steps[-1] = replace(steps[-1], loss=math.nan, mfu=0.5, seconds=0.3, attempt=2)
    totals = sum_steps(steps)
    assert totals.final_loss == pytest.approx(sum(step.loss for step in steps[2:11]) / 9)
    assert (totals.mfu, totals.steps, totals.attempts) == (pytest.approx(0.5), 12, 3)
    assert totals.response_tokens_per_s == pytest.approx(12 * 600 / 1.4)


def test_totals_of_no_step_are_zeros() -> None:
    totals = sum_steps([])
    assert (totals.steps, totals.final_loss, totals.mfu, totals.response_tokens_per_s) == (0, None, None, 0.0)
