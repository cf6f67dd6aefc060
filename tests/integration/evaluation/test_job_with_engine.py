"""The evaluation job with a real engine of a tiny model: killed in the middle, and one that can't start."""

from pathlib import Path

import pytest

from .conftest import (
    ENGINE,
    EVALUATE,
    NUM,
    assert_nothing_is_left,
    completions_of,
    engine_processes,
    run_job,
    running,
    summary_of,
    wait_for,
)


def engine_args(model: Path, output: Path) -> list[str]:
    return [
        "--model", str(model), "--benchmarks", "bundled", "--limit", str(NUM), "--max-new-tokens.all", "300",
        "--output", str(output), "--engine.max-model-len", "1024", *ENGINE,
    ]  # fmt: skip


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_evaluation_outlives_its_engine_and_its_driver(tiny_llama: Path, tmp_path: Path) -> None:
    output, log = tmp_path / "run", tmp_path / "log"
    command = [*EVALUATE, *engine_args(tiny_llama, output)]
    with running(command, log) as driver:
        for victim in ("core", "replica"):
            had = len(completions_of(output))
            wait_for(lambda: len(completions_of(output)) >= had + 2, 300, "completions: " + log.read_text())  # noqa: B023
            process = engine_processes()[victim]
            process.kill()
        had = len(completions_of(output))
        wait_for(lambda: len(completions_of(output)) > had, 300, "completions after both deaths")
        assert driver.poll() is None, log.read_text()
        driver.kill()
    assert_nothing_is_left()
    saved = completions_of(output)
    assert len(saved) < NUM
    done = run_job(EVALUATE, *engine_args(tiny_llama, output), timeout_s=400)
    assert done.returncode == 0, done.stderr
    now = completions_of(output)
    assert now[: len(saved)] == saved
    assert len({one["key"] for one in now}) == len(now) == NUM
    assert summary_of(output)["completions_reused"] == len(saved)
    assert summary_of(output)["engine"]["name"] == "vllm"
    assert_nothing_is_left()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_engine_that_can_not_start_says_why_and_leaves_nothing(tiny_llama: Path, tmp_path: Path) -> None:
    args = [*engine_args(tiny_llama, tmp_path / "run"), "--engine.cpu-kv-cache-gb", "100000"]
    done = run_job(EVALUATE, *args, timeout_s=300)
    assert done.returncode == 1, done.stderr
    assert "the engine did not start: " in done.stderr
    assert "memory" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert_nothing_is_left()
