"""Models in folders: looked over before anything is loaded, loaded in fp32, named by their content."""

import hashlib
from pathlib import Path
from typing import Any, Literal

Device = Literal["cuda", "cpu"]

_CHUNK = 1 << 22
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def check_model_files(folder: Path) -> None:
    """Raises `ValueError` where the folder has no config, tokenizer or safetensors weights."""
    if not folder.is_dir():
        raise ValueError(f"model {folder} is no folder here; fetch the model and name its folder")
    if not (folder / "config.json").is_file():
        raise ValueError(f"model {folder} has no config.json; give a Hugging Face folder")
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise ValueError(f"model {folder} has no tokenizer.json; copy the model's tokenizer files into it")
    if not next(folder.glob("*.safetensors"), None):
        raise ValueError(f"model {folder} has no *.safetensors; save its weights so (save_pretrained does)")


def digest_model(folder: Path) -> str:
    """SHA-256 over the configuration, the tokenizer and every byte of the weights: about a second a gigabyte."""
    state = hashlib.sha256()
    names = {"config.json", *_TOKENIZERS}
    paths = [path for path in folder.iterdir() if path.name in names or path.suffix == ".safetensors"]
    for path in sorted(paths):
        state.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                state.update(chunk)
    return state.hexdigest()


def load_model(folder: str, *, head: bool, device: Device) -> Any:
    """The transformers model in fp32, in evaluation mode; with its language-model `head`, or its hidden states alone.

    Raises `ValueError` where it can't be loaded or weights are missing.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM if head else AutoModel
    try:
        model, info = loader.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"model {folder} can't be loaded: {' '.join(str(error).split())[:300]}") from None
    missing = sorted(name for name in info["missing_keys"] if head or not name.startswith("pooler."))
    if missing:
        raise ValueError(f"model {folder} lacks weights that its config.json names: {', '.join(missing[:3])}")
    return model.eval().to(device)


def device_of_worker() -> Device:
    """Where this process's model goes: Ray shows a worker the GPU that it holds, and no other."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
