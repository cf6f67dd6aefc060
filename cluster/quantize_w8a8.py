"""Quantise a Hugging Face model folder to 8-bit weights and activations, for a faster teacher on vLLM's CPU build.

    python cluster/quantize_w8a8.py MODEL_FOLDER TARGET_FOLDER

Linear layers get symmetric weights, one scale an output channel; activations are quantised by token as they
come (compressed-tensors, "int-quantized"). Embedding, norms and the output layer stay as they are.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

_LEVELS = 127


def quantise(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights with each projection as int8 and its scale beside it."""
    quantised: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        if not name.endswith("_proj.weight"):
            quantised[name] = weight
            continue
        scale = weight.float().abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / _LEVELS
        quantised[name] = torch.round(weight.float() / scale).clamp(-_LEVELS, _LEVELS).to(torch.int8)
        quantised[f"{name}_scale"] = scale.to(torch.bfloat16)
    return quantised


def describe() -> dict[str, object]:
    """What `config.json` says of it."""
    each = {"num_bits": 8, "type": "int", "symmetric": True, "group_size": None}
    group = {
        "targets": ["Linear"],
        "weights": each | {"strategy": "channel", "dynamic": False, "observer": "minmax"},
        "input_activations": each | {"strategy": "token", "dynamic": True, "observer": None},
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }


def main(source: Path, target: Path) -> None:
    """Write the quantised folder."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file() and path.suffix != ".safetensors":
            shutil.copy(path, target)
    weights: dict[str, torch.Tensor] = {}
    for path in sorted(source.glob("*.safetensors")):
        weights |= load_file(path)
    save_file(quantise(weights), target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | {"quantization_config": describe()}, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
