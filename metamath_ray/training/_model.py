"""The student before training: tokenizer and causal language model as the options want them."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamath_ray.hub import check_hub_model
from metamath_ray.training._options import Attention, DeviceKind, Precision, TrainOptions

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(model: str) -> "PreTrainedTokenizerBase":
    """The student's own tokenizer, unchanged; it may lack a pad token (Llama 2), never an end-of-sequence token.

    Raises `ValueError` where `model` is no folder or hub name with a tokenizer, or has no end-of-sequence token.
    """
    from transformers import AutoTokenizer

    _check_place(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    except OSError as error:
        raise ValueError(f"no tokenizer could be loaded for model {model!r}: {_one_line(error)}") from error
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of model {model!r} has no eos_token: a response could not be ended")
    return tokenizer


def load_config(model: str) -> "PretrainedConfig":
    """The student's architecture without its weights; raises `ValueError` where there is none."""
    from transformers import AutoConfig

    _check_place(model)
    try:
        return AutoConfig.from_pretrained(model, trust_remote_code=False)  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise ValueError(f"no config.json could be read for model {model!r}: {_one_line(error)}") from error


def load_student(
    options: TrainOptions, *, device: DeviceKind, deepspeed_config: dict[str, Any] | None = None
) -> "torch.nn.Module":
    """The model that will be trained: in train mode, no key-value cache, gradient checkpointing as asked.

    A plain causal model of transformers for `full` (on the CPU: DeepSpeed moves it), a `peft.PeftModel` over an
    nf4 base for `qlora` (on this process's device, adapter initialised from `options.seed`). Everything has the
    data type of `options.precision`, also the bytes of 4-bit weights, which ZeRO 3 shards by type. With a ZeRO-3
    `deepspeed_config` (the dictionary given to `deepspeed.initialize`) and `full`, weights are shared out over the
    workers while they load; 4-bit weights are loaded whole and shared out by `deepspeed.initialize`.

    Raises `ValueError` where the folder or hub name has no safetensors weights, or not all of them.
    """
    from metamath_ray.training import _attention

    _attention.register()
    _check_place(options.model)
    kwargs = {
        "dtype": torch_dtype(options.precision),
        "attn_implementation": choose_attention(
            options.attention, device=device, precision=options.precision
        ),
        "use_safetensors": True,
        "trust_remote_code": False,
    }
    if options.method == "qlora":
        from metamath_ray.training._quantize import load_quantized

        model = load_quantized(options, device=device, kwargs=kwargs)
    else:
        with _partitioned_loading(deepspeed_config):
            model = load_weights(options.model, kwargs)
    model.config.use_cache = False
    if options.gradient_checkpointing:
        # without re-entrance: works for inputs that need no gradient (a frozen base), and with hooks on modules
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if options.method == "qlora":
        from metamath_ray.training._quantize import add_adapter

        return add_adapter(model, options).train()
    return model.train()  # type: ignore[no-any-return]


def load_weights(model: str, kwargs: dict[str, Any]) -> "PreTrainedModel":
    """`AutoModelForCausalLM.from_pretrained` that refuses a model with weights missing."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    try:
        loaded, info = loader.from_pretrained(model, output_loading_info=True, **kwargs)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(
            f"model {model!r} could not be loaded (a folder or hub name of a causal language model "
            f"with safetensors weights is needed): {_one_line(error)}"
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ValueError(f"model {model!r} lacks weights that its config.json names: {shown}")
    return loaded  # type: ignore[no-any-return]


def torch_dtype(precision: Precision) -> "torch.dtype":
    """The torch type of weights and activations."""
    import torch

    return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]


def choose_attention(attention: Attention, *, device: DeviceKind, precision: Precision) -> str:
    """What `auto` stands for: ours on CPU; on GPU flash attention where it is installed, else sdpa.

    Raises `ValueError` where flash attention was asked for and cannot be used.
    """
    if attention == "auto" and device == "cpu":
        return "documents"
    if attention not in {"auto", "flash_attention_2"}:
        return attention
    hindrance = None
    if device == "cpu":
        hindrance = "it runs on GPUs only"
    elif precision == "fp32":
        hindrance = "it computes in bf16 only, and precision is fp32"
    elif importlib.util.find_spec("flash_attn") is None:
        hindrance = "the package flash-attn is not installed"
    if hindrance is None:
        return "flash_attention_2"
    if attention == "auto":
        return "sdpa"
    raise ValueError(
        f"attention flash_attention_2 cannot be used: {hindrance}; allowed here: auto, documents, sdpa, eager"
    )


@contextmanager
def _partitioned_loading(deepspeed_config: dict[str, Any] | None) -> Iterator[None]:
    """Let transformers create and fill ZeRO-3 partitions inside this block, and nowhere after it."""
    if deepspeed_config is None or deepspeed_config.get("zero_optimization", {}).get("stage") != 3:
        yield
        return
    from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

    kept_alive = HfDeepSpeedConfig(deepspeed_config)  # type: ignore[no-untyped-call]  # transformers holds it weakly
    try:
        yield
    finally:
        unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]
        del kept_alive


def _check_place(model: str) -> None:
    if not model:
        raise ValueError("model must name a Hugging Face folder or a hub name, got ''")
    folder = Path(model)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ValueError(f"model {model!r} is a folder without config.json: not a Hugging Face model")
    if not folder.is_dir():
        check_hub_model(model)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
