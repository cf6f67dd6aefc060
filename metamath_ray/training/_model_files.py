"""Is a model's folder whole? Answered from file names, sizes and headers, before anything is loaded."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

_TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))


def check_model(model: str) -> tuple[list[str], list[str]]:
    """(what is wrong, what is worth knowing) of a Hugging Face folder or hub name, a line each."""
    if not model:
        return [
            "model must be named: --model with a Hugging Face folder or hub name, or a --recipe that has one"
        ], []
    folder = Path(model).expanduser()
    if folder.is_dir():
        return list(check_model_folder(folder)), []
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        return [f"model {model} is no folder here; give a Hugging Face folder, or a hub name OWNER/NAME"], []
    return _check_hub(model)


def check_model_folder(folder: Path) -> Iterator[str]:
    """What keeps the folder from being loaded: no config, no tokenizer, weights missing, cut or of another kind."""
    if not (folder / "config.json").is_file():
        yield f"model {folder} has no config.json; give a Hugging Face folder, or fetch the model again"
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS):
        yield f"model {folder} has no tokenizer.json (or tokenizer.model); copy the model's tokenizer files into it"
    yield from _check_weights(folder)


def _check_weights(folder: Path) -> Iterator[str]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError):
            yield f"model {folder}: {index.name} has no weight_map; fetch the model again"
            return
    elif (folder / "model.safetensors").is_file():
        shards = ["model.safetensors"]
    elif next(folder.glob("*.bin"), None):
        yield f"model {folder} has its weights as .bin files; convert them to safetensors (save_pretrained does)"
        return
    else:
        yield f"model {folder} has no weights (model.safetensors, or shards with their index); fetch the model again"
        return
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        yield (
            f"model {folder} lacks {len(missing)} of {len(shards)} weight files, first {missing[0]}; "
            "fetch the model again"
        )
    for name in shards:
        if (folder / name).is_file() and (fault := _fault_of(folder / name)):
            yield f"model {folder}: {name} {fault}; fetch the model again"


def _fault_of(file: Path) -> str | None:
    """A safetensors file starts with the length of its header, which says where the last tensor ends."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        header_bytes = int.from_bytes(stream.read(8), "little")
        if size < 8 or header_bytes > size:
            return "is no whole safetensors file"
        try:
            header = json.loads(stream.read(header_bytes))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return "has no readable safetensors header"
    whole = 8 + header_bytes + max(ends, default=0)
    return None if size == whole else f"has {size:,} bytes instead of {whole:,}"


def _check_hub(model: str) -> tuple[list[str], list[str]]:
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(model, "config.json"), str):
        return [], []
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        return [
            f"model {model} is not in the hub's cache, and HF_HUB_OFFLINE is set; unset it, or give a folder"
        ], []
    return [], [f"model {model} will be fetched from the hub"]
