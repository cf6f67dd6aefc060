"""The fuzz target itself: its invariants hold on its seeds, and would be seen if they did not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

from answers_invariants import ExecutedError, check_answers, seed_inputs, watched  # noqa: E402


def test_the_invariants_hold_on_the_seeds(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    seeds = list(seed_inputs(canary))
    assert len(seeds) > 700
    for seed in seeds:
        check_answers(seed, canary)


@pytest.mark.parametrize(
    "code",
    ["eval('1')", "exec('1')", "open(canary, 'w')", "__import__('os').system('true')", "__import__('this')"],
)
def test_execution_would_be_seen(code: str, tmp_path: Path) -> None:
    compiled = compile(code, "attack", "eval")
    with pytest.raises(ExecutedError), watched():
        eval(compiled, {"canary": str(tmp_path / "canary")})


def test_a_canary_that_was_made_would_be_seen(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.touch()
    with pytest.raises(AssertionError, match="the canary"):
        check_answers(b"5\x005", canary)


def test_without_atheris_the_target_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "atheris.py").write_text("raise ImportError('not here')\n")
    done = subprocess.run(
        [sys.executable, str(FOLDER / "fuzz_answers.py")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "fuzz_answers needs atheris, which is not installed: python -m pip install atheris"
    )
