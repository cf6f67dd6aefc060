"""What a replica is started with: checked folders, vLLM's arguments and environment, placement."""

import json
from pathlib import Path
from typing import Any

import pytest

from metamath_ray.evaluation import (
    EngineOptions,
    EngineSetup,
    ModelOptions,
    ServeOptions,
    check_port,
    engine_arguments,
    is_loopback,
    resolve_adapter,
    resolve_model,
)
from metamath_ray.evaluation._application import _share_cpus
from metamath_ray.evaluation._setup import engine_variables

WEIGHTS = (
    "\2" + 7 * "\0" + "{}\0"
)  # a safetensors file: the length of its header, the header, a byte of weights


def make_folder(folder: Path, *, without: str = "", **files: str) -> Path:
    folder.mkdir(parents=True)
    contents = {
        "config.json": '{"architectures": ["LlamaForCausalLM"]}',
        "model.safetensors": WEIGHTS,
        "tokenizer.json": "{}",
    } | files
    for name, text in contents.items():
        if name != without:
            (folder / name).write_text(text)
    return folder


def make_setup(**changes: Any) -> EngineSetup:
    values: dict[str, Any] = {
        "model": "/models/m",
        "adapter": "",
        "device": "cpu",
        "cpus": 2,
        "tensor_parallel_size": 1,
        "exact": False,
        "batch_invariant": False,
        "options": EngineOptions(),
    }
    return EngineSetup(**(values | changes))


def test_a_model_folder_comes_back_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "student")
    monkeypatch.chdir(tmp_path)
    assert resolve_model("student") == str(tmp_path / "student")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        pytest.param("config.json", "has no config.json", id="configuration"),
        pytest.param("model.safetensors", "has no weights", id="weights"),
        pytest.param("tokenizer.json", "has no tokenizer", id="tokenizer"),
    ],
)
def test_an_incomplete_model_folder_is_refused(tmp_path: Path, missing: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_model(str(make_folder(tmp_path / "m", without=missing)))


def test_a_model_folder_that_lacks_a_weight_file_is_refused(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    files = {"model.safetensors.index.json": json.dumps(index), "model-1.safetensors": WEIGHTS}
    with pytest.raises(ValueError, match=r"lacks 1 of 2 weight files: model-2\.safetensors"):
        resolve_model(str(make_folder(tmp_path / "m", **files)))


@pytest.mark.parametrize(
    "model", [pytest.param("/nowhere/at/all", id="path"), pytest.param("./student", id="relative")]
)
def test_a_missing_folder_is_not_looked_for_on_the_hub(model: str) -> None:
    with pytest.raises(ValueError, match=r"there is no such folder$"):
        resolve_model(model)


def test_a_weight_file_that_git_left_a_pointer_for_is_refused(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    folder = make_folder(tmp_path / "m", **{"model.safetensors": pointer})
    with pytest.raises(ValueError, match=r"model\.safetensors is no whole safetensors file"):
        resolve_model(str(folder))


def test_an_empty_weight_file_is_no_weights(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", **{"model.safetensors": ""})
    with pytest.raises(ValueError, match="has no weights"):
        resolve_model(str(folder))


@pytest.mark.parametrize(("rank", "allowed"), [(1, 1), (4, 8), (64, 64), (100, 128)])
def test_an_adapter_is_loaded_at_a_rank_that_vllm_allows(tmp_path: Path, rank: int, allowed: int) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    (folder / "adapter_model.safetensors").write_text("weights")
    arguments = engine_arguments(make_setup(adapter=resolve_adapter(str(folder))))
    assert (arguments["max_lora_rank"], arguments["max_loras"]) == (allowed, 1)


def test_a_folder_without_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no adapter_config\.json"):
        resolve_adapter(str(make_folder(tmp_path / "m")))


def test_exact_is_fp32_without_prefix_cache() -> None:
    exact, batched = engine_arguments(make_setup(exact=True)), engine_arguments(make_setup())
    assert (exact["dtype"], exact["enable_prefix_caching"]) == ("float32", False)
    assert (batched["dtype"], batched["enable_prefix_caching"]) == ("auto", True)


@pytest.mark.parametrize(
    ("device", "eager", "expected"),
    [("cpu", None, True), ("gpu", None, False), ("cpu", False, False), ("gpu", True, True)],
)
def test_compiling_is_left_out_on_a_cpu_unless_asked_for(
    device: str, eager: bool | None, expected: bool
) -> None:
    setup = make_setup(device=device, options=EngineOptions(enforce_eager=eager))
    assert engine_arguments(setup)["enforce_eager"] is expected


@pytest.mark.parametrize(
    ("setup", "cores", "bind", "threads"),
    [
        pytest.param(make_setup(), [0, 1], "0,1", "2", id="whole-node"),
        pytest.param(make_setup(tensor_parallel_size=2), [0, 1], "0|1", "1", id="two-ranks"),
        pytest.param(make_setup(cpus=4), [2, 3, 6, 7], "2,3,6,7", "4", id="cores-of-a-container"),
        pytest.param(make_setup(cpus=4, tensor_parallel_size=2), [0, 1, 2, 3], "0,1|2,3", "2", id="pairs"),
        pytest.param(make_setup(), list(range(8)), "nobind", "2", id="shared-node"),
        pytest.param(make_setup(tensor_parallel_size=2), [0], "nobind", "1", id="fewer-cores-than-ranks"),
    ],
)
def test_an_engine_alone_on_a_node_takes_all_its_cores(
    setup: EngineSetup, cores: list[int], bind: str, threads: str
) -> None:
    variables = engine_variables(setup, cores)
    assert (variables["VLLM_CPU_OMP_THREADS_BIND"], variables["OMP_NUM_THREADS"]) == (bind, threads)


def test_no_cpu_variable_reaches_a_gpu_engine() -> None:
    variables = engine_variables(make_setup(device="gpu", batch_invariant=True), [0, 1])
    assert not [name for name in variables if "CPU" in name or "OMP" in name]
    assert variables["VLLM_BATCH_INVARIANT"] == "1"


@pytest.mark.parametrize(
    ("options", "device", "nodes", "cpus"),
    [
        pytest.param({}, "cpu", [{"CPU": 2.0}], 2, id="all-of-one-machine"),
        pytest.param({"replicas": 2}, "cpu", [{"CPU": 2.0}], 1, id="shared-out"),
        pytest.param({"replicas": 3}, "cpu", [{"CPU": 8.0}, {"CPU": 4.0}], 4, id="uneven-nodes"),
        pytest.param({"engine": {"cpus_per_replica": 3}}, "cpu", [{"CPU": 8.0}], 3, id="asked-for"),
        pytest.param(
            {"replicas": 2, "tensor_parallel_size": 4}, "gpu", [{"CPU": 8.0, "GPU": 8.0}], 1, id="gpus"
        ),
    ],
)
def test_replicas_share_the_cores_of_the_cluster(
    options: dict[str, Any], device: Any, nodes: list[dict[str, float]], cpus: int
) -> None:
    assert _share_cpus(ModelOptions(**options), device, nodes) == cpus


@pytest.mark.parametrize(
    ("options", "device", "nodes", "message"),
    [
        pytest.param({"replicas": 3}, "cpu", [{"CPU": 2.0}], "replicas 3 need 1 CPUs each", id="cpus"),
        pytest.param(
            {"tensor_parallel_size": 4},
            "gpu",
            [{"GPU": 2.0}, {"GPU": 2.0}],
            "replicas 1 need 4 GPUs",
            id="gpus",
        ),
    ],
)
def test_more_replicas_than_the_cluster_holds_are_refused(
    options: dict[str, Any], device: Any, nodes: list[dict[str, float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _share_cpus(ModelOptions(**options), device, nodes)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_only_loopback_is_this_machine_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_another_address_than_loopback_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METAMATH_RAY_SERVE_KEY", raising=False)
    with pytest.raises(ValueError, match="put a key into the environment variable METAMATH_RAY_SERVE_KEY"):
        ServeOptions(model="m", host="0.0.0.0")
    monkeypatch.setenv("METAMATH_RAY_SERVE_KEY", "k")
    assert ServeOptions(model="m", host="0.0.0.0").api_key() == "k"


def test_a_port_in_use_is_named() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            ValueError, match=f"port {port} on 127.0.0.1 can't be used: Address already in use"
        ):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)


@pytest.mark.parametrize(("ranks", "own_process"), [(1, True), (2, False)])
def test_an_engine_of_one_rank_computes_in_its_cores_process(ranks: int, own_process: bool) -> None:
    variables = engine_variables(make_setup(tensor_parallel_size=ranks), [0, 1])
    assert (variables.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0") is own_process
    assert "GOMP_CPU_AFFINITY" not in variables
