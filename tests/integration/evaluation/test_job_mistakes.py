"""Mistakes of the user: one clear line each, exit code 2, nothing started. More of them in `test_mistakes.py`."""

from pathlib import Path

import pytest

from .conftest import EVALUATE, SERVE, run_job


@pytest.mark.parametrize(
    ("job", "args", "line"),
    [
        pytest.param(EVALUATE, ["--model", "{tmp}"], "has no config.json", id="no-model-folder"),
        pytest.param(EVALUATE, ["--model", "{tmp}/bare"], "has no weights", id="no-weights"),
        pytest.param(EVALUATE, [], "model or base_url must be given", id="no-model"),
        pytest.param(
            EVALUATE, ["--model", "/nowhere", "--benchmarks", "own"], "'own' needs a path", id="no-path"
        ),
        pytest.param(
            EVALUATE, ["--regrade", "--output", "{tmp}"], "no folder of an evaluation", id="regrade"
        ),
        pytest.param(EVALUATE, ["--compare", "{tmp}", "{tmp}"], "summary.json is missing", id="compare"),
        pytest.param(SERVE, [], "model must be given", id="serve-no-model"),
    ],
)
def test_a_mistake_ends_with_one_clear_line(
    tmp_path: Path, job: list[str], args: list[str], line: str
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text('{"model_type": "llama"}')
    done = run_job(job, *[arg.replace("{tmp}", str(tmp_path)) for arg in args])
    assert done.returncode == 2, done.stderr
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["gsm8k", "math", "gsm8k_backward"])
def test_a_published_benchmark_without_hub_and_path_names_the_way_out(name: str) -> None:
    done = run_job(EVALUATE, "--model", "/nowhere", "--benchmarks", name, HF_HUB_OFFLINE="1")
    assert done.returncode == 2, done.stderr
    assert f"or give a file: {name}:PATH" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
