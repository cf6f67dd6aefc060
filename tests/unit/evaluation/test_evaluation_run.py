"""A run's folder: what may follow what in it, and what lies there while it is written."""

from pathlib import Path
from typing import Any

import pytest

from metamath_ray.evaluation import (
    Evaluation,
    EvaluationOptions,
    EvaluationPlan,
    PredictionStore,
    load_summary,
    write_predictions,
)
from metamath_ray.evaluation import _run as run
from metamath_ray.run_folder import BadRunFolderError

from .conftest import complete, make_requests


def options_of(output: Path, **engine: Any) -> EvaluationOptions:
    return EvaluationOptions(model="m", benchmarks=("gsm8k",), output=output, engine=engine)


def make_finished(output: Path) -> Evaluation:
    """An evaluation of which all completions are saved."""
    options, requests = options_of(output), make_requests(3)
    with run._open_output(options) as folder, PredictionStore(folder, "gsm8k", requests=requests) as store:
        store.add(map(complete, requests))
    return Evaluation(EvaluationPlan(options, "m", "", {}, (), {"gsm8k": requests}))


def test_completions_cut_at_another_context_length_are_others(tmp_path: Path) -> None:
    ways = [run._way_of_asking(options_of(tmp_path, max_model_len=length)) for length in (None, 512, 4096)]
    assert ways[0] == {"mode": "batched", "dtype_asked": "auto"}, "what was saved before stays valid"
    assert ways[1] != ways[2] != ways[0]


def test_a_folder_with_completions_of_another_context_length_is_refused(tmp_path: Path) -> None:
    make_finished(tmp_path)
    with (
        pytest.raises(BadRunFolderError, match="made with other options"),
        run._open_output(options_of(tmp_path, max_model_len=512)),
    ):
        pass


def test_there_is_no_summary_while_tables_of_another_run_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = make_finished(tmp_path)
    (tmp_path / "summary.json").write_text("of an earlier run")

    def write(*args: Any, **options: Any) -> Path:
        assert not (tmp_path / "summary.json").exists()
        return write_predictions(*args, **options)

    monkeypatch.setattr(run, "write_predictions", write)
    evaluation.run()
    assert load_summary(tmp_path)["benchmarks"]["gsm8k"]["correct"] == 3
    assert load_summary(tmp_path)["completions_reused"] == 3
