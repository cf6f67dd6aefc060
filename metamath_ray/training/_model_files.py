"""Is a model's folder whole? Answered from file names, sizes and headers, before anything is loaded."""

import json
from collections.abc import Iterator
from pathlib import Path

from metamath_ray.hub import check_hub_model

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
    try:
        is_here = check_hub_model(model)
    except ValueError as error:
        return [f"{error}; give a Hugging Face folder, or a hub name OWNER/NAME"], []
    return [], [] if is_here else [f"model {model} will be fetched from the hub"]


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
            names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            shards = sorted({str(name) for name in names})
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
    if odd := [name for name in shards if Path(name).name != name]:
        yield f"model {folder}: {index.name} names {odd[0]!r}, which is no file beside it; fetch the model again"
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
