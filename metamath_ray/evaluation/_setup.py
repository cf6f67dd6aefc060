"""What a replica is started with: one frozen record from the options of either job, and vLLM's arguments from it."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from metamath_ray.evaluation._options import EngineOptions
from metamath_ray.hub import check_hub_model
from metamath_ray.start_ray import starts_here

Device = Literal["cpu", "gpu"]

_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "tekken.json", "vocab.json")
_BYTES_OF_GB = 10**9


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """One engine of a model: all that decides its completions, and where it runs.

    `model` is an absolute folder or a hub name. `adapter` is an absolute folder, or empty. `cpus` are cores of the
    replica. `exact` is fp32 without prefix cache.
    """

    model: str
    adapter: str
    device: Device
    cpus: int
    tensor_parallel_size: int
    exact: bool
    batch_invariant: bool
    options: EngineOptions


def resolve_model(model: str) -> str:
    """The absolute path of a model folder, or a hub name as it is.

    Raises `ValueError` for a folder that is not there or lacks configuration, tokenizer or weights, and for a name
    that is neither a folder nor a model of the hub. `ModuleNotFoundError` where engines would run
    here and vLLM is not installed.
    """
    _check_engine_package()
    folder = Path(model).expanduser()
    if folder.is_dir():
        _check_model_folder(folder)
        return str(folder.resolve())
    if folder.exists():
        raise ValueError(f"model {model!r} is a file; give the folder of a Hugging Face model")
    check_hub_model(model)
    return model


def resolve_adapter(adapter: str) -> str:
    """The absolute path of a LoRA adapter's folder. Raises `ValueError` where it is none."""
    if not adapter:
        return ""
    folder = Path(adapter).expanduser()
    _rank_of(folder)
    if not _holds_weights(folder):
        raise ValueError(f"adapter {adapter!r} has no weights (adapter_model.safetensors)")
    return str(folder.resolve())


def engine_arguments(setup: EngineSetup) -> dict[str, Any]:
    """The arguments of vLLM's engine; the same for `vllm.LLM` give the same engine offline.

    `generation_config="vllm"`: what a request does not say is vLLM's neutral value, never the model's own taste.
    """
    options = setup.options
    arguments: dict[str, Any] = {
        "model": setup.model,
        "dtype": "float32" if setup.exact else options.dtype,
        "tensor_parallel_size": setup.tensor_parallel_size,
        "max_num_seqs": options.max_num_seqs,
        "max_model_len": options.max_model_len,
        "enable_prefix_caching": not setup.exact,
        "enforce_eager": setup.device == "cpu" if options.enforce_eager is None else options.enforce_eager,
        "generation_config": "vllm",
        "disable_log_stats": True,
        "seed": 0,
    }
    if setup.device == "cpu":
        arguments["kv_cache_memory_bytes"] = int(options.cpu_kv_cache_gb * _BYTES_OF_GB)
    else:
        arguments["gpu_memory_utilization"] = options.gpu_memory_utilization
    if setup.tensor_parallel_size > 1:
        arguments["distributed_executor_backend"] = "mp"  # all on the replica's node, in its own processes
    if setup.adapter:
        rank = _rank_of(Path(setup.adapter))
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": _allowed_rank(rank)}
    return arguments


def engine_variables(setup: EngineSetup, cores: Iterable[int]) -> dict[str, str]:
    """The environment of an engine on a node where this process may use these cores.

    An engine that has the whole node is bound to all its cores: vLLM would leave one to its scheduler, half of a
    machine of two. Engines that share a node are not bound, the system spreads them. An engine of one rank computes
    in its core's own process; vLLM by default puts a worker beside it and spins on shared memory between the two
    (32 GSM8K problems on two busy cores, one run each: 53 tokens/s against 21). `GOMP_CPU_AFFINITY` stays unset: the
    core inherits the one CPU that its parent's first thread is then bound to, and its threads sleep where they would
    spin (134 tokens/s against 172).
    """
    variables = {
        "VLLM_ENGINE_READY_TIMEOUT_S": str(max(1, int(setup.options.start_timeout_s))),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork would hold the reaper's pipe open
    }
    if setup.batch_invariant:
        variables["VLLM_BATCH_INVARIANT"] = "1"
    if setup.device == "gpu":
        return variables
    cores = sorted(cores)
    num_ranks = setup.tensor_parallel_size
    variables["OMP_NUM_THREADS"] = str(max(1, min(setup.cpus, len(cores)) // num_ranks))
    variables["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"
    whole = setup.cpus >= len(cores) >= num_ranks
    variables["VLLM_CPU_OMP_THREADS_BIND"] = _share_out(cores, num_ranks) if whole else "nobind"
    if num_ranks == 1:
        variables["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return variables


def allowed_cores() -> list[int]:
    """The cores that this process may run on."""
    return sorted(os.sched_getaffinity(0))


def _share_out(cores: list[int], num_ranks: int) -> str:
    """`0,1|2,3`: the cores of each rank."""
    each = len(cores) // num_ranks
    shares = (cores[rank * each : (rank + 1) * each] for rank in range(num_ranks))
    return "|".join(",".join(map(str, share)) for share in shares)


def _check_model_folder(folder: Path) -> None:
    config = _read_json(folder / "config.json", f"model folder {folder}")
    if not isinstance(config, dict) or not (config.get("architectures") or config.get("model_type")):
        raise ValueError(f"{folder / 'config.json'} is no configuration of a model")
    if not _holds_weights(folder):
        raise ValueError(f"model folder {folder} has no weights: none of {', '.join(_WEIGHTS)}")
    _check_safetensors(folder)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise ValueError(f"model folder {folder} has no tokenizer: none of {', '.join(_TOKENIZERS)}")
    for index in folder.glob("*.index.json"):
        parts = set(_read_json(index, f"model folder {folder}").get("weight_map", {}).values())
        if odd := [name for name in parts if Path(str(name)).name != name]:
            raise ValueError(f"{index} names {odd[0]!r}, which is no file beside it")
        missing = sorted(name for name in parts if not (folder / name).is_file())
        if missing:
            raise ValueError(
                f"model folder {folder} lacks {len(missing)} of {len(parts)} weight files: {missing[0]}"
            )


def _check_engine_package() -> None:
    """Engines of a cluster have Pythons of their own; those of this machine run in this one."""
    if starts_here() and find_spec("vllm") is None:
        raise ModuleNotFoundError(
            "vllm is not installed; pip install 'metamath-ray[cpu]' (or [gpu]), or give base_url"
        )


def _check_safetensors(folder: Path) -> None:
    """A file begins with the length of its header: what git leaves without git-lfs, or a cut download, does not."""
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
        if not 0 < header_bytes < path.stat().st_size - 8:
            raise ValueError(
                f"model folder {folder}: {path.name} is no whole safetensors file; fetch the model again"
            )


def _holds_weights(folder: Path) -> bool:
    return any(path.stat().st_size for pattern in _WEIGHTS for path in folder.glob(pattern))


def _rank_of(adapter: Path) -> int:
    config = _read_json(adapter / "adapter_config.json", f"adapter {adapter}")
    if not isinstance(config, dict) or not isinstance(config.get("r"), int):
        raise ValueError(f"{adapter / 'adapter_config.json'} is no configuration of a LoRA adapter")
    return int(config["r"])


def _allowed_rank(rank: int) -> int:
    """The smallest of vLLM's ranks that holds it."""
    allowed = (1, 8, 16, 32, 64, 128, 256, 320, 512)
    return next((each for each in allowed if each >= rank), rank)


def _read_json(path: Path, of: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{of} has no {path.name}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} can't be read: {error}") from None
