"""What stands beside exported weights: the model card and the record of the training."""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import yaml

from metamath_ray import __version__
from metamath_ray.student_prompt import EVALUATION_SUFFIX, STUDENT_PROMPT
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._template import template_identity

RECORD_FILE = "training_record.json"

_LICENSES = {
    "llama-2-": "llama2",
    "mistral-7b-": "apache-2.0",
    "qwen2.5-7b": "apache-2.0",
    "smollm2-": "apache-2.0",
}
"""Licences of the bases that the recipes name, by the start of the model's name in lower case."""

_HUB_DATA = {
    "MetaMathQA-395K.json": "meta-math/MetaMathQA",
    "MetaMathQA-40K.json": "meta-math/MetaMathQA-40K",
}
"""Hub names of the released files."""

_MACHINE = {"output", "checkpoint", "plan", "log_every_steps", "watchers", "max_failures", "push_to_hub"}
"""Options that say where and how a run was watched, not what was trained."""


def render_model_card(options: TrainOptions, record: Mapping[str, Any], *, is_adapter: bool = False) -> str:
    """`README.md` with the metadata that the Hugging Face hub reads; keys missing in `record` are left out.

    It holds no path of the machine that trained: a folder is named by its last part.
    """
    environment = jinja2.Environment(
        autoescape=False,  # noqa: S701  # Markdown
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    template = files("metamath_ray.training").joinpath("model_card.md.j2").read_text(encoding="utf-8")
    metadata = _metadata(options, record, is_adapter=is_adapter)
    return environment.from_string(template).render(
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True),
        base_model=_public_name(options.model),
        data=_data_name(options),
        options=options,
        record=record,
        facts=_facts(record),
        is_adapter=is_adapter,
        prompt=STUDENT_PROMPT,
        evaluation_suffix=EVALUATION_SUFFIX,
        version=__version__,
    )


def render_training_record(options: TrainOptions, record: Mapping[str, Any]) -> str:
    """`training_record.json`: base, data, prompt template, options, and what the run measured."""
    shown = options.model_dump(mode="json", exclude=_MACHINE | {"model", "data", "device"})
    whole = {
        "metamath_ray_version": __version__,
        "base_model": _public_name(options.model),
        "data": _data_name(options),
        "prompt": {
            "name": template_identity(options.compat),
            "template": STUDENT_PROMPT,
            "evaluation_suffix": EVALUATION_SUFFIX,
            "ends_with": "the tokenizer's eos_token",
        },
        "options": shown,
        "run": {key: value for key, value in record.items() if key not in {"model", "output_model"}},
    }
    return json.dumps(whole, indent=2, ensure_ascii=False, default=str) + "\n"


def read_data_key(folder: Path) -> str | None:
    """The key of the data that the exported model in `folder` was trained on; None where no model is."""
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    key: str | None = record["run"].get("data_key")
    return key


def _metadata(options: TrainOptions, record: Mapping[str, Any], *, is_adapter: bool) -> dict[str, Any]:
    base = _public_name(options.model)
    metadata: dict[str, Any] = {
        "base_model": base,
        "base_model_relation": "adapter" if is_adapter else "finetune",
        "library_name": "peft" if is_adapter else "transformers",
        "pipeline_tag": "text-generation",
        "language": ["en"],
        "tags": ["metamath", "math", "reasoning"],
    }
    license_name = _license(base)
    if license_name:
        metadata["license"] = license_name
    data = _data_name(options)
    if data in _HUB_DATA or data.startswith("gsm8k:"):
        metadata["datasets"] = [_HUB_DATA.get(data, "openai/gsm8k")]
    if "final_loss" in record:
        metadata["metrics"] = ["loss"]
        metadata["model-index"] = [_loss_entry(base, data, record["final_loss"])]
    return metadata


def _loss_entry(base: str, data: str, loss: Any) -> dict[str, Any]:
    metric = {"type": "loss", "name": "training loss, mean of the last steps", "value": loss}
    return {
        "name": f"{base.rsplit('/', 1)[-1]} on {data}",
        "results": [
            {
                "task": {"type": "text-generation"},
                "dataset": {"name": data, "type": "training-rows"},
                "metrics": [metric],
            }
        ],
    }


def _facts(record: Mapping[str, Any]) -> dict[str, str]:
    """What the run measured, for a reader: counts with separators, rates rounded."""
    counts = {
        "rows": "rows",
        "packs": "sequences after packing",
        "steps": "optimizer steps",
        "tokens": "tokens",
        "response_tokens": "tokens of response",
        "num_workers": "workers",
    }
    facts = {label: f"{record[key]:,}" for key, label in counts.items() if record.get(key) is not None}
    rounded = {
        "epochs": "epochs",
        "final_loss": "training loss, mean of the last steps",
        "seconds": "seconds",
    }
    return facts | {
        label: f"{record[key]:.4g}" for key, label in rounded.items() if record.get(key) is not None
    }


def _license(base: str) -> str | None:
    name = base.rsplit("/", 1)[-1].lower()
    return next((license for start, license in _LICENSES.items() if name.startswith(start)), None)


def _public_name(model: str) -> str:
    """A hub name as it is, a folder by its last part."""
    is_hub_name = model.count("/") <= 1 and not model.startswith((".", "/", "~")) and not Path(model).exists()
    return model if is_hub_name else Path(model).resolve().name


def _data_name(options: TrainOptions) -> str:
    """The data without its folders: `gsm8k:train.jsonl` for `gsm8k:some/where/train.jsonl`."""
    source, colon, place = (options.data or "not recorded").rpartition(":")
    return source + colon + Path(place).name
