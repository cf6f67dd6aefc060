"""Trained weights to a Hugging Face folder that transformers and vLLM load."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamath_ray.training._model import load_config, load_tokenizer, torch_dtype
from metamath_ray.training._model_card import RECORD_FILE, render_model_card, render_training_record
from metamath_ray.training._options import TrainOptions

if TYPE_CHECKING:
    import torch

_MAX_SHARD = "5GB"


class ExportError(ValueError):
    """The weights are not those of the student that the options name; the text says how they differ."""


def export_model(
    state_dict: Mapping[str, "torch.Tensor"],
    *,
    options: TrainOptions,
    output: Path,
    record: Mapping[str, Any],
) -> Path:
    """Write `output/model`, and for `qlora` `output/adapter` before it; gives the path of `output/model`.

    `state_dict` has the names of the Hugging Face model (tied weights once or twice), for `qlora` the adapter's
    tensors as the `PeftModel` names them; on the CPU. `record` is what the run measured (the keys of
    `summary.json`): it goes into `training_record.json` and the model card. Each folder holds safetensors of
    the type that was trained, tokenizer without chat template, `README.md` and `training_record.json`; `model`
    of qlora is the de-quantised base with the adapter added, complete without bitsandbytes. Trained in fp32, its
    logits are the trained model's within 0.02. Trained in bf16 it is saved in bf16, whose rounding moves them by 2 to
    4 % of what training did (SmolLM2-135M, 5 steps: mean 0.07, at most 0.84, after changes of mean 3.3, at most 29;
    why, see `_quantize`). The adapter is exactly what was trained.

    A folder appears whole or not at all, in place of one that was there. Raises `ExportError` where tensors are
    missing, or are left over.
    """
    weights: Mapping[str, torch.Tensor] = state_dict
    if options.method == "qlora":
        from metamath_ray.training._device import choose_kind
        from metamath_ray.training._quantize import merge_adapter, save_adapter

        def write_adapter(folder: Path) -> None:
            save_adapter(state_dict, options, str(folder))
            _write_beside(folder, options, record, kind="adapter")

        _write_whole(output / "adapter", write_adapter)
        weights = merge_adapter(state_dict, options, device=choose_kind(options.device))

    def write_model(folder: Path) -> None:
        _write_weights(folder, weights, options)
        _write_beside(folder, options, record, kind="model")

    return _write_whole(output / "model", write_model)


def _write_weights(folder: Path, weights: Mapping[str, "torch.Tensor"], options: TrainOptions) -> None:
    """Configuration, generation configuration and safetensors."""
    import torch
    from transformers import AutoModelForCausalLM

    config = load_config(options.model)
    config.use_cache = True
    dtype = torch_dtype(options.precision)
    with torch.device("meta"):  # a skeleton: no second copy of the weights
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)  # type: ignore[no-untyped-call]
    tied = set(model.all_tied_weights_keys)
    _check_names(set(weights), {name for name, _ in model.named_parameters(remove_duplicate=False)}, tied)
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in weights.items() if name not in tied}
    try:
        model.load_state_dict(tensors, strict=False, assign=True)
    except RuntimeError as error:  # shapes
        raise ExportError(f"the weights do not fit {options.model!r}: {error}") from error
    model.tie_weights()
    model.generation_config = _greedy(options.model)
    model.save_pretrained(folder, max_shard_size=_MAX_SHARD)


def _greedy(model: str) -> Any:
    """Decoding without sampling, ended by the token that training ended responses with."""
    from transformers import GenerationConfig

    tokenizer = load_tokenizer(model)
    pad = tokenizer.pad_token_id
    return GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id if pad is None else pad,
    )


def _write_beside(folder: Path, options: TrainOptions, record: Mapping[str, Any], *, kind: str) -> None:
    """Tokenizer, model card and training record."""
    tokenizer = load_tokenizer(options.model)
    tokenizer.chat_template = (
        None  # the student was trained on the Alpaca prompt, not on the base's chat format
    )
    tokenizer.save_pretrained(folder)
    card = render_model_card(options, record, is_adapter=kind == "adapter")
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / RECORD_FILE).write_text(render_training_record(options, record), encoding="utf-8")


def _check_names(given: set[str], wanted: set[str], tied: set[str]) -> None:
    missing, unknown = sorted(wanted - tied - given), sorted(given - wanted)
    if missing or unknown:
        raise ExportError(
            f"the trained weights are not the student's: missing {missing[:3]} ({len(missing)} in all), "
            f"unknown {unknown[:3]} ({len(unknown)} in all)"
        )


def _write_whole(folder: Path, write: Callable[[Path], None]) -> Path:
    """Write a folder under another name, then put it in its place."""
    partial, old = folder.with_name(f".{folder.name}.partial"), folder.with_name(f".{folder.name}.old")
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder
