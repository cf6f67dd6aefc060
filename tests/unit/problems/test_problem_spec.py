import subprocess
import sys
from pathlib import Path

import pytest

from metamath_ray.problems import SeedSpec, parse_spec


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        pytest.param("bundled", SeedSpec("bundled"), id="bundled"),
        pytest.param("gsm8k", SeedSpec("gsm8k"), id="gsm8k-from-hub"),
        pytest.param("math", SeedSpec("math"), id="math-from-hub"),
        pytest.param("gsm8k_backward", SeedSpec("gsm8k_backward"), id="backward-from-hub"),
        pytest.param("bundled_backward", SeedSpec("bundled_backward"), id="bundled-backward"),
        pytest.param("math:m.jsonl", SeedSpec("math", Path("m.jsonl")), id="math-from-file"),
        pytest.param("my_set-2:a/b.jsonl", SeedSpec("my_set-2", Path("a/b.jsonl")), id="own-name"),
        pytest.param("own:a:b.jsonl", SeedSpec("own", Path("a:b.jsonl")), id="colon-in-path"),
        pytest.param("own:~/b.jsonl", SeedSpec("own", Path.home() / "b.jsonl"), id="home"),
    ],
)
def test_a_spec_is_a_name_and_perhaps_a_path(text: str, spec: SeedSpec) -> None:
    assert parse_spec(text) == spec


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "characters a-z 0-9 _ -, got ''", id="empty"),
        pytest.param("GSM8K", "characters a-z 0-9 _ -, got 'GSM8K'", id="capitals"),
        pytest.param("data/a.jsonl", "got 'data/a.jsonl'", id="path-without-name"),
        pytest.param("gsm8k\n", r"got 'gsm8k\\n'", id="newline"),
        pytest.param("own", "'own' needs a path", id="unknown-without-path"),
        pytest.param("own:", "'own:' has a colon but no path", id="colon-without-path"),
        pytest.param("bundled:a.jsonl", "'bundled' takes no path, got 'a.jsonl'", id="bundled-with-path"),
        pytest.param("bundled_backward:a.jsonl", "'bundled_backward' takes no path", id="backward-with-path"),
    ],
)
def test_a_bad_spec_says_what_is_allowed(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_spec(text)
    assert "allowed are 'bundled', 'gsm8k[:PATH]', 'math[:PATH]', or NAME:PATH with the path of" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


def test_importing_problems_imports_nothing_heavy() -> None:
    code = "import sys, metamath_ray.problems; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"ray", "torch", "datasets", "pyarrow", "transformers"} & set(done.stdout.split())
