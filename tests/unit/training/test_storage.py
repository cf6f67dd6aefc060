"""Where a run's checkpoints are, which of them are removed, and what counts as the same run from elsewhere."""

import json
from pathlib import Path
from typing import ClassVar

import pytest

from metamath_ray.training import _storage
from metamath_ray.training._errors import CannotResumeError
from metamath_ray.training._loop import _refuse_lost_checkpoints
from metamath_ray.training._metrics import MetricsLog
from metamath_ray.training._model_card import render_training_record
from metamath_ray.training._options import CheckpointOptions, TrainOptions
from metamath_ray.training._prepare import prepare_data
from metamath_ray.training._schedule import StepPlan
from metamath_ray.training._storage import (
    checkpoint_place,
    is_local_disk,
    remove_unlisted_checkpoints,
    run_id,
)
from metamath_ray.training._summary import summarise
from metamath_ray.training._trainer import _reason, is_finished, run_worker

from .test_metrics_log import make_step

MOUNTS = "/dev/sda / ext4 rw 0 0\nnode:/export /shared nfs4 rw 0 0\n/dev/nvme0 /shared/fast xfs rw 0 0\n"


@pytest.mark.parametrize(
    ("path", "is_local"),
    [("/home/a", True), ("/shared/run", False), ("/shared/fast/run", True)],
    ids=["root", "nfs", "disk-below-nfs"],
)
def test_a_network_disk_is_told_from_a_local_one(path: str, is_local: bool) -> None:
    assert is_local_disk(Path(path), MOUNTS) is is_local


def test_a_storage_that_runs_share_has_a_name_for_each(tmp_path: Path) -> None:
    shared = TrainOptions(checkpoint=CheckpointOptions(storage="s3://bucket/runs"))
    outputs = [tmp_path / name for name in ("a", "b")]
    for output in outputs:
        output.mkdir()
    places = {checkpoint_place(shared, output) for output in outputs}
    assert len(places) == 2
    assert {place for place, _ in places} == {"s3://bucket/runs"}
    assert checkpoint_place(shared, outputs[0]) == ("s3://bucket/runs", run_id(outputs[0]))
    assert checkpoint_place(TrainOptions(), outputs[0]) == (str(outputs[0]), "checkpoints")


@pytest.mark.parametrize(
    ("snapshot", "left"),
    [
        (json.dumps({"checkpoint_results": [{"checkpoint_dir_name": "checkpoint_1"}]}), ["checkpoint_1"]),
        (None, []),
        ('{"checkpoint_res', ["checkpoint_1", "checkpoint_2"]),
    ],
    ids=["one-listed", "never-listed", "list-torn"],
)
def test_checkpoints_that_ray_does_not_list_are_removed(
    tmp_path: Path, snapshot: str | None, left: list[str]
) -> None:
    folder = tmp_path / "run"
    for name in ("checkpoint_1", "checkpoint_2", "other"):
        (folder / name).mkdir(parents=True)
    if snapshot is not None:
        (folder / "checkpoint_manager_snapshot.json").write_text(snapshot)
    remove_unlisted_checkpoints(str(tmp_path), "run")
    assert sorted(path.name for path in folder.glob("checkpoint_[0-9]")) == left
    assert (folder / "other").is_dir()
    assert remove_unlisted_checkpoints(str(tmp_path), "no-run") == []


def test_staging_is_empty_and_a_worker_s_own(tmp_path: Path) -> None:
    old = _storage.open_staging(tmp_path, 0) / "checkpoint"
    old.mkdir()
    other = _storage.open_staging(tmp_path, 1)
    assert list(_storage.open_staging(tmp_path, 0).iterdir()) == []
    assert other.is_dir()


@pytest.mark.parametrize(
    ("num_steps", "is_refused"),
    [(0, False), (5, False), (6, True)],
    ids=["none", "before-first", "after-first"],
)
def test_steps_without_their_checkpoint_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_steps: int, is_refused: bool
) -> None:
    class Step:
        step = num_steps

    monkeypatch.setattr("metamath_ray.training._loop.load_metrics", lambda path: [Step()] * bool(num_steps))
    options = TrainOptions(checkpoint=CheckpointOptions(every_steps=5, storage="s3://elsewhere"))
    if not is_refused:
        _refuse_lost_checkpoints(options, tmp_path)
        return
    with pytest.raises(
        CannotResumeError, match=r"has done 6 steps.*s3://elsewhere; give the --checkpoint\.storage"
    ):
        _refuse_lost_checkpoints(options, tmp_path)


def test_paths_are_the_same_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "student").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    written = TrainOptions.model_validate(
        {
            "data": "gsm8k:train.jsonl",
            "model": "student",
            "output": "~/run",
            "device": {"nvme_path": "disk"},
            "checkpoint": {"storage": "kept"},
        }
    )
    options = written.with_absolute_paths()
    assert options.data == f"gsm8k:{tmp_path}/train.jsonl"
    assert options.model == str(tmp_path / "student")
    assert options.output == tmp_path / "home" / "run"
    assert options.device.nvme_path == tmp_path / "disk"
    assert options.checkpoint.storage == str(tmp_path / "kept")
    assert options.with_absolute_paths() == options
    assert written.identity() == options.identity()


@pytest.mark.parametrize("data", ["bundled", "gsm8k", None], ids=str)
def test_names_stay_names(data: str | None) -> None:
    options = TrainOptions.model_validate(
        {"data": data, "model": "org/model", "checkpoint": {"storage": "s3://bucket/x"}}
    ).with_absolute_paths()
    assert (options.data, options.model, options.checkpoint.storage) == (data, "org/model", "s3://bucket/x")


def test_the_identity_is_what_decides_the_weights() -> None:
    def digest(**change: object) -> str:
        return TrainOptions.model_validate(
            {"global_batch_size": 8, "micro_batch_size": 1} | change
        ).identity_digest()

    assert digest(num_workers=2, max_failures=1, device={"timeout_minutes": 5}, output="x") == digest()
    assert digest(seed=1) != digest()
    assert digest(lora={"rank": 8}) != digest()


def test_the_reason_of_a_failure_is_not_the_lost_connection_it_caused() -> None:
    class FailedError(Exception):
        worker_failures: ClassVar = {
            0: RuntimeError("Traceback ...\nRuntimeError: gloo: Connection closed by peer"),
            1: MemoryError("Traceback ...\nMemoryError: no room"),
        }

    assert _reason(FailedError()) == "MemoryError: no room"
    assert _reason(FailedError.worker_failures[0]) == "RuntimeError: gloo: Connection closed by peer"


def test_a_finished_run_is_one_of_the_data_that_is_there_now(tiny_model: Path, tmp_path: Path) -> None:
    """A file of rows may have been written anew since."""
    rows, output = tmp_path / "rows.jsonl", tmp_path / "out"
    options = TrainOptions(data=str(rows), model=str(tiny_model), max_steps=1, limit_rows=1)

    def is_finished_with(query: str) -> bool:
        rows.write_text(json.dumps({"query": query, "response": "The answer is: 2"}))
        data = prepare_data(options, output / "data")
        if not (output / "model").exists():
            with MetricsLog(output / "metrics.jsonl") as log:
                log.append(make_step(1))
            (output / "model").mkdir()
            record = render_training_record(options, summarise(options, output))
            (output / "model" / "training_record.json").write_text(record)
        return is_finished(output, StepPlan.make(len(data), options))

    assert is_finished_with("1 + 1?")
    assert not is_finished_with("4 - 2?")
    assert is_finished_with("1 + 1?")


def test_a_node_that_does_not_see_the_output_folder_says_so(tmp_path: Path) -> None:
    config = {"options": TrainOptions().model_dump(mode="json"), "output": str(tmp_path / "elsewhere")}
    with pytest.raises(ValueError, match=r"elsewhere is not there on node .* storage that all nodes share"):
        run_worker(config)
    assert not (tmp_path / "elsewhere").exists()
