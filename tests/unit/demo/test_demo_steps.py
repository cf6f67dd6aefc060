"""The steps' commands are options that the jobs take, and a step is left out when its work is done and no older."""

import os
from pathlib import Path

import pytest

from metamath_ray.bootstrap import BuildOptions
from metamath_ray.demo import DemoOptions, Step, plan_steps, shown_command
from metamath_ray.evaluation import EvaluationOptions
from metamath_ray.options import BadOptionsError, parse_options
from metamath_ray.training import TrainOptions, recipe_defaults

JOBS = Path("jobs")


def steps_of(**options: object) -> dict[str, Step]:
    return {step.name: step for step in plan_steps(DemoOptions.model_validate(options), jobs=JOBS)}


def touch(path: Path, time: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time, time))


@pytest.mark.parametrize("fast", [False, True], ids=["full", "fast"])
def test_every_command_is_one_that_its_job_takes(fast: bool) -> None:
    steps = steps_of(fast=fast)
    words = {name: step.command[2:] for name, step in steps.items()}
    parse_options(DemoOptions, words["student"], prog="", description="")
    parse_options(BuildOptions, words["build"], prog="", description="")
    training = parse_options(
        TrainOptions, words["training"], prog="", description="", defaults=recipe_defaults
    )
    evaluations = [
        parse_options(EvaluationOptions, words[name], prog="", description="")
        for name in ("before", "after", "comparison")
    ]
    assert training.max_steps == (5 if fast else 48)
    assert evaluations[0].model_dump(exclude={"model", "output"}) == evaluations[1].model_dump(
        exclude={"model", "output"}
    )
    assert evaluations[1].model == str(training.output / "model")
    assert evaluations[2].compare == (evaluations[0].output, evaluations[1].output)


def test_all_is_within_the_time_that_it_promises() -> None:
    installation_s = 150
    assert installation_s + sum(step.expected_s for step in steps_of().values()) < 0.9 * 25 * 60
    assert installation_s + sum(step.expected_s for step in steps_of(fast=True).values()) < 0.95 * 10 * 60


def test_sizes_share_student_and_build_and_nothing_else() -> None:
    full, fast = steps_of(), steps_of(fast=True)
    shared = {name for name in full if full[name].makes == fast[name].makes}
    assert shared == {"student", "build"}


def test_a_model_of_the_users_own_needs_no_download(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    steps = steps_of(model=tmp_path)
    assert "student" not in steps
    assert str(tmp_path) in steps["before"].command
    assert str(tmp_path) in steps["training"].command


def test_a_model_that_is_no_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(
        BadOptionsError, match=r"model must be a folder with a Hugging Face model, .* no config.json"
    ):
        parse_options(DemoOptions, ["--model", str(tmp_path)], prog="", description="")


@pytest.mark.parametrize(
    ("made", "page", "read", "done"),
    [
        pytest.param(20, True, 10, True, id="done"),
        pytest.param(20, True, 20, True, id="same-moment"),
        pytest.param(None, True, 10, False, id="not-made"),
        pytest.param(20, False, 10, False, id="no-page"),
        pytest.param(20, True, 30, False, id="older-than-what-it-reads"),
        pytest.param(20, True, None, False, id="what-it-reads-is-gone"),
    ],
)
def test_a_step_is_done_when_its_work_is_there_and_no_older_than_what_it_reads(
    tmp_path: Path, made: int | None, page: bool, read: int | None, done: bool
) -> None:
    step = steps_of(run_dir=tmp_path)["training"]
    student = steps_of(run_dir=tmp_path)["student"].makes
    touch(student, 5)
    for path, time in ((step.makes, made), (step.reads[0], read)):
        if time is not None:
            touch(path, time)
    if page:
        assert step.page is not None
        touch(step.page, 40)
    assert step.is_done() is done


def test_commands_are_shown_as_they_can_be_typed_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    step = plan_steps(DemoOptions(run_dir=Path("my runs")), jobs=tmp_path / "jobs")[1]
    shown = shown_command(step)
    assert shown.endswith(" jobs/build_metamathqa.py --run-dir 'my runs/build'")


def test_other_options_make_another_demo_and_the_display_does_not() -> None:
    one = DemoOptions()
    assert one.identity() == DemoOptions(open=False, max_steps=48).identity()
    assert one.identity() != DemoOptions(max_steps=47).identity()
