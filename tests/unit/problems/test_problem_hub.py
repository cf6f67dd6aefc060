"""The hub itself cannot run here: a module with its one function stands in for `datasets`."""

import sys
import types
from collections.abc import Callable

import pytest

from metamath_ray.problems import load_problems

Rows = list[dict[str, str]]


def stand_in(monkeypatch: pytest.MonkeyPatch, load_dataset: Callable[..., Rows]) -> None:
    for name in ("datasets", "datasets.load"):
        module = types.ModuleType(name)
        module.load_dataset = load_dataset
        monkeypatch.setitem(sys.modules, name, module)


def test_gsm8k_without_path_comes_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(hub_id: str, config: str, *, split: str) -> Rows:
        asked.append((hub_id, config, split))
        return [{"question": "2+2?", "answer": "#### 4"}] * 2

    stand_in(monkeypatch, load_dataset)
    problems = load_problems("gsm8k", split="test").problems
    assert asked == [("openai/gsm8k", "main", "test")]
    assert [problem.id for problem in problems] == ["gsm8k-test-0", "gsm8k-test-1"]


def test_math_without_path_is_all_seven_subjects_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(hub_id: str, config: str, *, split: str) -> Rows:
        assert (hub_id, split) == ("EleutherAI/hendrycks_math", "train")
        return [{"problem": "2+2?", "solution": r"\boxed{4}", "level": "Level 1", "type": config}]

    stand_in(monkeypatch, load_dataset)
    problems = load_problems("math").problems
    assert len({problem.subject for problem in problems}) == 7
    assert [problem.id for problem in problems] == [f"math-train-{number}" for number in range(7)]


def test_gsm8k_backward_without_path_comes_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(hub_id: str, config: str, *, split: str) -> Rows:
        assert (hub_id, config, split) == ("meta-math/GSM8K_Backward", "default", "test")
        return [{"question": "x + 2 is 4. What is the value of unknown variable x?", "answer": "2"}]

    stand_in(monkeypatch, load_dataset)
    (problem,) = load_problems("gsm8k_backward", split="test").problems
    assert (problem.id, problem.answer) == ("gsm8k_backward-test-0", "2")


@pytest.mark.parametrize("name", ["gsm8k_backward", "bundled_backward"])
def test_a_benchmark_has_no_train_half(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is a benchmark: it has test problems only"):
        load_problems(name)


def test_a_missing_extra_prints_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setitem(sys.modules, "datasets.load", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'metamath-ray\[hub\]'.*gsm8k:PATH"):
        load_problems("gsm8k")


@pytest.mark.parametrize("error", [ConnectionError, ValueError], ids=["network", "offline-cache"])
def test_an_unreachable_hub_is_one_line_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def load_dataset(hub_id: str, config: str, *, split: str) -> Rows:
        raise error("no route\nsecond line")

    stand_in(monkeypatch, load_dataset)
    with pytest.raises(
        ValueError, match="cannot load openai/gsm8k from the hub: no route; or give"
    ) as caught:
        load_problems("gsm8k")
    assert "\n" not in str(caught.value)
