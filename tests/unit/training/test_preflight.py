import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version as real_version
from pathlib import Path
from typing import Any

import httpx
import pytest

from metamath_ray.training import TrainOptions, _preflight
from metamath_ray.training._estimate import GIB, estimate
from metamath_ray.training._machine import Machine, find_fit, look_at_machine
from metamath_ray.training._preflight import PreflightError, check_port, check_training, check_versions
from metamath_ray.training._recipes import find_shape, load_recipe

CPU = Machine(cpu_cores=2, memory_bytes=16 * GIB)
A100 = Machine(
    cpu_cores=64,
    memory_bytes=500 * GIB,
    num_gpus=8,
    gpu="NVIDIA A100-SXM4-80GB",
    gpu_bytes=80 * GIB,
    torch_cuda="12.9",
)
Make = Callable[..., TrainOptions]


def faults_of(options: TrainOptions, machine: Machine = CPU) -> list[str]:
    with pytest.raises(PreflightError) as error:
        check_training(options, machine=machine)
    return error.value.faults


def only_fault(options: TrainOptions, machine: Machine = CPU) -> str:
    faults = faults_of(options, machine)
    assert len(faults) == 1, faults
    return faults[0]


def copy_model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_a_sound_run_passes_and_leaves_nothing_behind(make: Make) -> None:
    options = make()
    assert check_training(options, machine=CPU) == []
    assert not options.output.exists()


def test_all_faults_are_told_at_once(make: Make) -> None:
    assert len(faults_of(make(model="", data=None, attention="flash_attention_2"))) == 3


def test_the_error_survives_a_trip_between_processes() -> None:
    import pickle

    assert pickle.loads(pickle.dumps(PreflightError("one\ntwo"))).faults == ["one", "two"]


def test_an_unnamed_model_is_refused(make: Make) -> None:
    assert only_fault(make(model="")).startswith("model must be named: --model")


def test_an_empty_model_folder_is_refused(make: Make, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    faults = faults_of(make(model=str(tmp_path / "empty")))
    assert [fault.split("; ")[0].split("empty ")[1] for fault in faults] == [
        "has no config.json",
        "has no tokenizer.json (or tokenizer.model)",
        "has no weights (model.safetensors, or shards with their index)",
    ]


def test_a_missing_model_folder_is_refused(make: Make) -> None:
    assert "there is no such folder" in only_fault(make(model="./nowhere/at/all"))


def break_weights(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    if how == "missing":
        weights.unlink()
    elif how == "bin":
        weights.rename(folder / "pytorch_model.bin")
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "pointer":
        weights.write_text("version https://git-lfs.example/spec/v1\noid sha256:0\nsize 5\n")
    else:
        weights.rename(folder / "model-00001-of-00002.safetensors")
        index = {"weight_map": {f"layer.{n}": f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "has no weights"),
        ("bin", "convert them to safetensors"),
        ("cut", "bytes instead of"),
        ("pointer", "is no whole safetensors file"),
        ("shard", "lacks 1 of 2 weight files, first model-00002-of-00002.safetensors; fetch the model again"),
    ],
)
def test_weights_that_are_not_whole_are_refused(
    make: Make, tiny_model: Path, tmp_path: Path, how: str, message: str
) -> None:
    folder = copy_model(tiny_model, tmp_path)
    break_weights(folder, how)
    assert message in only_fault(make(model=str(folder)))


def test_a_hub_name_is_noted_and_refused_where_the_hub_is_off(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = make(model="nobody/has-this-model")
    monkeypatch.setattr("httpx.head", lambda *_, **__: httpx.Response(200))
    assert check_training(options, machine=CPU) == [
        "model nobody/has-this-model will be fetched from the hub"
    ]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in only_fault(options)


def test_an_unknown_family_is_noted_and_not_refused(make: Make, tiny_model: Path, tmp_path: Path) -> None:
    folder = copy_model(tiny_model, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    assert "memory is not estimated" in check_training(make(model=str(folder)), machine=CPU)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "does not exist; give --data", id="missing"),
        pytest.param("", "no row of", id="empty"),
        pytest.param('{"question": "q"}\n', "rows", id="other-fields"),
    ],
)
def test_data_without_a_row_is_refused(make: Make, tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "rows.data.jsonl"
    if text is not None:
        path.write_text(text)
    assert message in only_fault(make(data=str(path)))


def test_unnamed_data_is_refused(make: Make) -> None:
    assert only_fault(make(data=None)).startswith("data must be named: --data")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"device": {"kind": "gpu", "offload_parameters": "cpu"}}, "needs ZeRO 3, got zero_stage 2", id="parameters"),
        pytest.param({"zero_stage": 0, "device": {"kind": "gpu", "offload_optimizer": "cpu"}}, "needs ZeRO; give --zero-stage", id="optimizer"),
        pytest.param({"zero_stage": 3, "device": {"kind": "gpu", "offload_optimizer": "nvme"}}, "give --device.nvme-path", id="nvme-path"),
        pytest.param({"zero_stage": 2, "device": {"kind": "gpu", "offload_optimizer": "nvme", "nvme_path": "."}}, "nvme needs ZeRO 3", id="nvme-stage"),
        pytest.param({"zero_stage": 3, "device": {"kind": "gpu", "offload_optimizer": "nvme", "nvme_path": "./no-such"}}, "is no folder", id="nvme-folder"),
        pytest.param({"attention": "flash_attention_2", "precision": "fp32", "device": {"kind": "gpu"}}, "needs --precision bf16", id="flash-fp32"),
        pytest.param({"attention": "flash_attention_2", "device": {"kind": "gpu"}}, "needs the package flash-attn", id="flash-missing"),
        pytest.param({"num_workers": 16, "micro_batch_size": 1, "global_batch_size": 16, "device": {"kind": "gpu"}}, "this machine has 8; give --num-workers 8", id="gpus"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_on_a_gpu_are_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(_preflight, "find_spec", lambda name: None)
    assert message in only_fault(make(**change), A100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"device": {"kind": "cpu", "offload_optimizer": "cpu"}}, "leave them at none on CPU", id="offload"),
        pytest.param({"attention": "flash_attention_2"}, "needs a GPU; give --attention auto", id="flash"),
        pytest.param({"num_workers": 2, "device": {"kind": "cpu", "cpus_per_worker": 2}}, "need 4 cores, this machine has 2", id="cores"),
        pytest.param({"device": {"kind": "gpu"}}, "needs a CUDA build of torch", id="cpu-torch"),
    ],
)  # fmt: skip
def test_options_that_need_more_than_this_machine_are_refused(
    make: Make, change: dict[str, Any], message: str
) -> None:
    assert message in only_fault(make(**change))


def test_a_gpu_that_is_missing_or_too_old_is_refused(make: Make) -> None:
    options = make(device={"kind": "gpu"})
    assert "torch finds no GPU" in only_fault(options, replace(CPU, torch_cuda="12.9"))
    assert "precision bf16 is nothing that Tesla V100 can do" in only_fault(
        options, replace(A100, gpu="Tesla V100", has_bf16=False)
    )


def test_auto_takes_the_cpu_where_there_is_no_gpu(make: Make) -> None:
    assert check_training(make(device={"kind": "auto"}), machine=CPU) == []


def test_too_little_memory_is_refused_with_a_change_that_fits(make: Make) -> None:
    options = make(micro_batch_size=8)
    shape = find_shape(options)
    assert shape
    enough = estimate(make(micro_batch_size=1), shape).memory_bytes
    assert "; --micro-batch-size 1 would do" in only_fault(
        options, replace(CPU, memory_bytes=int(enough) + 1)
    )
    assert only_fault(options, replace(CPU, memory_bytes=1)).endswith(
        "take more or larger GPUs, or a smaller model"
    )


def test_the_change_that_is_offered_does_fit() -> None:
    recipe = load_recipe("llama2-13b")
    options = TrainOptions.model_validate(recipe.options | {"zero_stage": 0, "gradient_checkpointing": False})
    shape = recipe.model
    assert shape
    change = find_fit(options, shape, gpu="A100", limit=40 * GIB)
    assert change == "--zero-stage 3 (with all gentler changes)"
    changed = {"micro_batch_size": 1, "gradient_checkpointing": True, "zero_stage": 3}
    assert estimate(options.model_copy(update=changed), shape, gpu="A100").memory_bytes < 40 * GIB


def test_a_full_disk_is_refused_and_the_runs_own_files_count_as_free(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = make()
    monkeypatch.setattr(_preflight, "free_bytes", lambda folder: 500_000)
    fault = only_fault(options)
    assert "0.0 are free" in fault
    assert "--checkpoint.keep" in fault
    (options.output / "checkpoints").mkdir(parents=True)
    (options.output / "checkpoints" / "shard").write_bytes(b"0" * 3_000_000)
    assert check_training(options, machine=CPU) == []


def test_a_checkpoint_takes_room_twice_while_it_is_copied_to_its_storage(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = make(checkpoint={"keep": 3})
    shape = find_shape(options)
    assert shape
    needed = estimate(options, shape)
    kept_and_new = 4 * needed.checkpoint_bytes + needed.export_bytes
    monkeypatch.setattr(_preflight, "free_bytes", lambda folder: kept_and_new)
    assert "for 5 checkpoints and the model" in only_fault(options)
    monkeypatch.setattr(
        _preflight, "is_local_disk", lambda folder: False
    )  # written first to another disk then
    assert check_training(options, machine=CPU) == []


def test_room_for_checkpoints_is_asked_of_the_storage_they_go_to(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    monkeypatch.setattr(_preflight, "free_bytes", lambda folder: 0 if folder == storage else 10**9)
    assert "--checkpoint.storage" in only_fault(make(checkpoint={"storage": str(storage)}))
    assert check_training(make(checkpoint={"storage": "s3://bucket/runs"}), machine=CPU) == []


def test_a_port_in_use_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        assert only_fault(make()).startswith(f"MASTER_PORT {port} can't be used: Address already in use")
    assert list(check_port(str(port))) == []


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_what_is_no_port_is_refused(port: str) -> None:
    assert "must be a port from 1 to 65535" in next(iter(check_port(port)))


def test_old_and_missing_packages_are_refused_and_new_ones_noted(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(package: str) -> str:
        if package == "bitsandbytes":
            raise _preflight.PackageNotFoundError
        return {"ray": "2.40.0", "deepspeed": "0.21.0"}.get(package) or real_version(package)

    monkeypatch.setattr(_preflight, "version", version)
    notes: list[str] = []
    assert list(check_versions(make(), notes)) == ["ray 2.40.0 is too old; pip install 'ray>=2.60,<3'"]
    assert notes == ["deepspeed 0.21.0 is newer than what was tested (below 0.20)"]
    assert "bitsandbytes is not installed; pip install 'bitsandbytes>=0.50,<1'" in check_versions(
        make(method="qlora"), []
    )


def test_a_look_at_this_machine_finds_cores_and_memory() -> None:
    machine = look_at_machine()
    assert machine.cpu_cores >= 1
    assert machine.memory_bytes > 100 * 2**20


def test_offloading_to_nvme_takes_no_memory_of_the_node(make: Make, tmp_path: Path) -> None:
    def options(place: str) -> TrainOptions:
        device = {
            "kind": "gpu",
            "offload_optimizer": place,
            "offload_parameters": place,
            "nvme_path": str(tmp_path),
        }
        return make(zero_stage=3, device=device)

    machine = replace(A100, memory_bytes=1000)
    assert "offloading needs about" in only_fault(options("cpu"), machine)
    assert check_training(options("nvme"), machine=machine) == []
