"""From options to trials: what is refused before anything is trained, and what `--plan` says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metamath_ray.ablation import (
    AblationOptions,
    Outcome,
    TrialRecord,
    ablation_defaults,
    describe_plan,
    load_record,
    plan_ablation,
    write_record,
)
from metamath_ray.ablation._records import trial_folder
from metamath_ray.ablation._run import choose_mixes
from metamath_ray.options import parse_options

Plan = Callable[..., Any]


@pytest.fixture
def options(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AblationOptions]:
    """Options from a command line that pass, with changes."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    problems = [
        {"id": f"s-{i}", "question": f"What is {i} + 1?", "answer": f"{i} + 1\n#### {i + 1}"}
        for i in range(20)
    ]
    rows = [
        {
            "type": f"OWN_{kind}",
            "query": f"{kind}: {problem['question']}",
            "original_question": problem["question"],
            "response": f"{'very ' * 200 * (problem['id'] == 's-1')}easy\nThe answer is: {i + 1}",
        }
        for kind in ("AnsAug", "Rephrased", "SV", "FOBAR")
        for i, problem in enumerate(problems)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "own.jsonl").write_text("".join(f"{json.dumps(problem)}\n" for problem in problems))
    values: dict[str, object] = {
        "data": tmp_path / "rows.json",
        "problems": f"own:{tmp_path / 'own.jsonl'}",
        "model": tiny_model,
        "dev-problems": 4,
        "training.precision": "fp32",
        "training.max-length": 256,
        "training.num-workers": 0,
        "evaluation.engine": "transformers",
        "output": tmp_path / "run",
    }

    def parse(**change: object) -> AblationOptions:
        named = {name.replace("__", ".").replace("_", "-"): value for name, value in change.items()}
        given = {name: value for name, value in (values | named).items() if value is not None}
        argv = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        return parse_options(AblationOptions, argv, prog="x", description="", defaults=ablation_defaults)

    return parse


def test_a_plan_tells_mixes_what_was_left_out_and_trials(options: Callable[..., AblationOptions]) -> None:
    plan = plan_ablation(options())
    text = "\n".join(describe_plan(plan))
    assert "mix A+R+SV+FOBAR: " in text
    assert "left out of OWN_SV: 4 dev, 1 too_long" in text or "left out of OWN_SV: 4 dev\n" in text
    assert "trials: 15 (5 mixes x 3 seeds), 15 left to run, 1 at a time" in text
    assert "dev problems: 4" in text
    assert len(plan.dev) == 4
    assert plan.splits == {"dev": "dev", "bundled": "test"}


@pytest.mark.parametrize("equal", ["rows", "tokens"])
def test_equal_mixes_are_equal(options: Callable[..., AblationOptions], equal: str) -> None:
    infos = plan_ablation(options(equal=equal)).infos()
    sizes = [getattr(info, equal) for info in infos]
    assert max(sizes) - min(sizes) <= (0 if equal == "rows" else 4 * 256), sizes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"data": None}, "data must be given: --data", id="no-data"),
        pytest.param({"model": None}, "model must be given: --model", id="no-model"),
        pytest.param({"data": "gone.json"}, "gone.json' does not exist", id="data-gone"),
        pytest.param({"model": "gone"}, "gone", id="model-gone"),
        pytest.param({"mixes": "table9"}, "mixes must be of table1, rft", id="mixes"),
        pytest.param({"mixes": "rft"}, "holds no candidates/*.parquet", id="no-candidates"),
        pytest.param({"size": 5}, "size needs equal rows or tokens, got equal none", id="size"),
        pytest.param({"equal": "rows", "size": 900}, "size must be at most the 1", id="too-large"),
        pytest.param({"equal": "steps"}, "equal steps needs training.max_steps", id="steps"),
        pytest.param({"equal": "bytes"}, "equal must be 'none', 'rows', 'tokens' or 'steps'", id="equal"),
        pytest.param({"dev_problems": 0}, "choose best needs dev problems", id="no-dev"),
        pytest.param({"dev_problems": 20}, "must be fewer than the 20 seed problems", id="all-dev"),
        pytest.param({"problems": None}, "name the seeds with --problems", id="no-problems"),
        pytest.param({"problems": "own:gone.jsonl"}, "gone.jsonl", id="problems-gone"),
        pytest.param({"evaluation__benchmarks": "own:gone.jsonl"}, "gone.jsonl", id="test-set-gone"),
        pytest.param(
            {"evaluation__benchmarks": "dev:x.jsonl"}, "'dev' is the name of the problems", id="dev-name"
        ),
        pytest.param({"evaluation__prompt": "gone.txt"}, "prompt must be", id="prompt"),
        pytest.param({"training__epochs": 0}, "training.epochs must be greater than 0, got '0'", id="epochs"),
        pytest.param({"training__micro_batch_size": 7}, "global_batch_size must be a multiple", id="batch"),
        pytest.param({"training__data": "x"}, "unknown option --training.data", id="trials-own"),
        pytest.param({"training__recipe": "nope"}, "recipe 'nope' is unknown", id="recipe"),
        pytest.param({"training__device__kind": "gpu"}, "num_workers 0 trains on CPU", id="gpu"),
        pytest.param({"seeds": 0}, "seeds must be greater than or equal to 1", id="seeds"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_trained(
    options: Callable[..., AblationOptions],
    change: dict[str, object],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        plan_ablation(options(**change))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def finish(plan: Any, *, accuracy: dict[str, int]) -> list[TrialRecord]:
    records = []
    for sample in plan.samples:
        ids = tuple(problem.id for problem in plan.dev)
        outcome = Outcome(
            sample.mix, sample.seed, "dev", ids, tuple(i < accuracy.get(sample.mix, 0) for i in range(4))
        )
        record = TrialRecord(sample.mix, sample.seed, sample.digest, {"dev": outcome}, {}, {})
        folder = trial_folder(plan.options.output, sample.name)
        folder.mkdir(parents=True)
        write_record(folder, record)
        records.append(record)
    return records


def test_the_best_mix_on_the_dev_problems_is_chosen_and_the_smaller_of_two_alike(
    options: Callable[..., AblationOptions],
) -> None:
    plan = plan_ablation(options(seeds=2))
    records = finish(plan, accuracy={"A": 3, "A+R": 3, "SFT": 2})
    assert choose_mixes(plan, records) == ("A",)
    everything = plan_ablation(options(seeds=2, choose="all"))
    assert choose_mixes(everything, records) == tuple(mix.name for mix in plan.mixes)


def test_records_read_back_and_count_as_done(options: Callable[..., AblationOptions]) -> None:
    plan = plan_ablation(options())
    records = finish(plan, accuracy={})
    assert [load_record(plan.options.output, sample) for sample in plan.samples] == records
    assert "15 (5 mixes x 3 seeds), 0 left to run" in "\n".join(describe_plan(plan))


def test_a_record_of_other_rows_is_refused(options: Callable[..., AblationOptions]) -> None:
    finish(plan_ablation(options()), accuracy={})
    with pytest.raises(ValueError, match="was trained on other rows than the data gives now"):
        describe_plan(plan_ablation(options(equal="rows")))


def test_a_damaged_record_is_named(options: Callable[..., AblationOptions]) -> None:
    plan = plan_ablation(options())
    finish(plan, accuracy={})
    path = trial_folder(plan.options.output, plan.samples[0].name) / "outcome.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"can't be read .* remove it to run the trial again"):
        describe_plan(plan)
