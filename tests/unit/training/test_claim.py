"""No two processes are the same worker of a run."""

import errno
import fcntl
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from metamath_ray.training import TrainingFailedError, _claim
from metamath_ray.training._claim import claim_rank, wait_for_workers


def test_a_claim_is_refused_while_another_has_it_and_names_that_one(tmp_path: Path) -> None:
    said = rf"^worker 0 of an earlier start of this run still runs: end process {os.getpid()} on "
    with claim_rank(tmp_path, 0):
        with claim_rank(tmp_path, 1, patience_s=0):
            pass
        with pytest.raises(TrainingFailedError, match=said), claim_rank(tmp_path, 0, patience_s=0):
            pass
        with pytest.raises(TrainingFailedError, match=said):
            wait_for_workers(tmp_path, patience_s=0)
    wait_for_workers(tmp_path, patience_s=0)


def test_a_run_that_is_new_has_no_workers_to_wait_for(tmp_path: Path) -> None:
    wait_for_workers(tmp_path, patience_s=0)
    assert list(tmp_path.iterdir()) == []


def test_a_claim_waits_for_the_one_before_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = claim_rank(tmp_path, 0)
    earlier.__enter__()
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            earlier.__exit__(None, None, None)

    monkeypatch.setattr(_claim.time, "sleep", sleep)
    with claim_rank(tmp_path, 0):
        assert len(waits) == 3


def _claim_then_die(output: Path) -> None:
    claim_rank(output, 0).__enter__()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_leaves_no_claim(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_claim_then_die, args=(tmp_path,))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    with claim_rank(tmp_path, 0, patience_s=0):
        pass


def test_a_disk_without_locks_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with claim_rank(tmp_path, 0, patience_s=0):
        assert "this disk has no locks (No locks available)" in caplog.text
