import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from metamath_ray.training import TrainOptions


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """The machine is shared, and sums come out the same."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 short rows, with sums to learn."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    draw = random.Random(7)
    with path.open("w") as file:
        for _ in range(240):
            a, b, c = (draw.randint(2, 99) for _ in range(3))
            steps = f"{a} + {b} = {a + b}.\n" + (
                f"{a + b} + {c} = {a + b + c}.\n" if draw.random() < 0.5 else ""
            )
            query = f"What is {a} plus {b}" + (f" plus {c}?" if steps.count("=") > 1 else "?")
            answer = steps.rstrip(".\n").rsplit(" ", 1)[-1]
            file.write(json.dumps({"query": query, "response": f"{steps}The answer is: {answer}"}) + "\n")
    return path


@pytest.fixture
def make(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrainOptions]:
    """Options that pass on CPU, with changes."""
    for name in ("MASTER_PORT", "RAY_ADDRESS", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"query": "1 + 1?", "response": "It is 2.\\nThe answer is: 2"}\n')
    values = {
        "model": str(tiny_model),
        "data": str(rows),
        "output": str(tmp_path / "out"),
        "device": {"kind": "cpu"},
    }
    return lambda **change: TrainOptions.model_validate(values | {"global_batch_size": 8} | change)
