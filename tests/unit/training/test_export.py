import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from metamath_ray.student_prompt import STUDENT_PROMPT
from metamath_ray.training import _export
from metamath_ray.training._export import ExportError, export_model
from metamath_ray.training._model import load_student, load_tokenizer
from metamath_ray.training._options import LoraOptions, TrainOptions
from metamath_ray.training._quantize import _round_to_bf16

RECORD = {"final_loss": 0.75, "steps": 6, "tokens": 12345, "output_model": "/somewhere/model"}
IDS = torch.randint(5, 200, (2, 48), generator=torch.Generator().manual_seed(1))


def options_for(folder: Path, **changes: Any) -> TrainOptions:
    fixed = {"model": str(folder), "data": "gsm8k:/a/machine/gsm8k_train.jsonl", "lora": LoraOptions(rank=8)}
    # sdpa takes batches of several sequences
    return TrainOptions.model_validate({"precision": "fp32", "attention": "sdpa"} | fixed | changes)


def train(options: TrainOptions, *, steps: int = 4) -> torch.nn.Module:
    """A student some steps away from its start, in evaluation mode."""
    model = load_student(options, device="cpu")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
    return model.eval()


def trained_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What the loop hands over: all weights, or the adapter's, each once."""
    is_adapter = not all(p.requires_grad for p in model.parameters())
    return {
        name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad or not is_adapter
    }


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(input_ids=IDS).logits.float()


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_exported_model_is_the_trained_one_bit_for_bit(
    tiny_model: Path, tmp_path: Path, precision: str
) -> None:
    options = options_for(tiny_model, precision=precision)
    trained = train(options)
    exported = load(export_model(trained_weights(trained), options=options, output=tmp_path, record=RECORD))
    assert exported.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert torch.equal(logits(exported), logits(trained))


def test_tied_embeddings_are_stored_once_and_come_back_tied(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    options = options_for(tiny_model)
    weights = trained_weights(train(options))
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]  # as a plain state dict has it
    folder = export_model(weights, options=options, output=tmp_path, record=RECORD)
    with safe_open(folder / "model.safetensors", "pt") as stored:
        assert "lm_head.weight" not in stored.keys()  # noqa: SIM118  # no mapping
    exported = load(folder)
    assert exported.lm_head.weight is exported.model.embed_tokens.weight


def test_untied_output_weights_are_kept(tiny_model: Path, tmp_path: Path) -> None:
    untied = load(tiny_model)
    untied.config.tie_word_embeddings = False
    untied.lm_head.weight = torch.nn.Parameter(torch.randn_like(untied.lm_head.weight))
    untied.save_pretrained(tmp_path / "untied")
    load_tokenizer(str(tiny_model)).save_pretrained(tmp_path / "untied")
    options = options_for(tmp_path / "untied")
    trained = train(options)
    exported = load(export_model(trained_weights(trained), options=options, output=tmp_path, record=RECORD))
    assert torch.equal(logits(exported), logits(trained))
    assert not torch.equal(exported.lm_head.weight, exported.model.embed_tokens.weight)


def test_the_merged_export_of_qlora_gives_the_trained_logits(tiny_model: Path, tmp_path: Path) -> None:
    options = options_for(tiny_model, method="qlora")
    trained = train(options)
    before = logits(load_student(options, device="cpu").eval())
    exported = load(export_model(trained_weights(trained), options=options, output=tmp_path, record=RECORD))
    assert (logits(trained) - before).abs().max() > 0.5, "training must have changed something"
    difference = float((logits(exported) - logits(trained)).abs().max())
    print(f"logits of the merged export differ by {difference:.1e}")
    assert difference < 0.02
    assert not hasattr(exported.config, "quantization_config")


def test_in_bf16_the_merged_export_is_as_close_as_random_rounding_lets_it(
    tiny_model: Path, tmp_path: Path
) -> None:
    """Measured over 4 seeds: at most 0.11, mean 0.012 to 0.013, where training moved logits by 0.65 to 0.70."""
    options = options_for(tiny_model, method="qlora", precision="bf16")
    trained = train(options)
    before = logits(load_student(options, device="cpu").eval())
    exported = load(export_model(trained_weights(trained), options=options, output=tmp_path, record=RECORD))
    assert exported.dtype == torch.bfloat16
    error = (logits(exported) - logits(trained)).abs()
    assert error.max() < 0.2
    assert error.mean() < 0.02
    assert error.mean() < 0.03 * (logits(trained) - before).abs().mean()
    card = (tmp_path / "model" / "README.md").read_text()
    assert "rounded to bf16 at random" in card


def test_merging_onto_the_unquantised_base_would_be_further_off(tiny_model: Path, tmp_path: Path) -> None:
    """Why the merge de-quantises: the control of the test above."""
    from peft import PeftModel

    options = options_for(tiny_model, method="qlora")
    trained = train(options)
    export_model(trained_weights(trained), options=options, output=tmp_path, record=RECORD)
    on_original = PeftModel.from_pretrained(load(tiny_model), tmp_path / "adapter").merge_and_unload()
    assert (logits(on_original) - logits(trained)).abs().max() > 0.02


def test_the_exported_adapter_loads_with_peft(tiny_model: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    options = options_for(tiny_model, method="qlora")
    trained = train(options)
    export_model(trained_weights(trained), options=options, output=tmp_path, record=RECORD)
    base = load_student(options, device="cpu").unload()
    assert torch.equal(logits(PeftModel.from_pretrained(base, tmp_path / "adapter").eval()), logits(trained))


def test_tokenizer_and_generation_fit_the_training(tiny_model: Path, tmp_path: Path) -> None:
    with_chat = tmp_path / "with-chat"
    load(tiny_model).save_pretrained(with_chat)
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.save_pretrained(with_chat)
    options = options_for(with_chat)
    weights = trained_weights(load_student(options, device="cpu"))
    folder = export_model(weights, options=options, output=tmp_path, record=RECORD)
    exported = load_tokenizer(str(folder))
    assert exported.chat_template is None
    assert exported("3 + 4 = 7").input_ids == tokenizer("3 + 4 = 7").input_ids
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["do_sample"] is False
    assert generation["eos_token_id"] == exported.eos_token_id


def test_card_and_record_say_what_was_trained_on_what(tiny_model: Path, tmp_path: Path) -> None:
    options = options_for(tiny_model, seed=7)
    weights = trained_weights(load_student(options, device="cpu"))
    folder = export_model(weights, options=options, output=tmp_path, record=RECORD)
    _, front_matter, text = (folder / "README.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(front_matter)
    assert metadata["base_model"] == tiny_model.name
    assert metadata["datasets"] == ["openai/gsm8k"]
    assert metadata["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.75
    assert STUDENT_PROMPT in text
    record = json.loads((folder / "training_record.json").read_text())
    assert record["prompt"]["template"] == STUDENT_PROMPT
    assert record["options"]["seed"] == 7
    assert record["run"]["steps"] == 6


def test_no_path_of_the_machine_is_written(tiny_model: Path, tmp_path: Path) -> None:
    options = options_for(tiny_model)
    weights = trained_weights(load_student(options, device="cpu"))
    folder = export_model(weights, options=options, output=tmp_path, record=RECORD)
    for file in folder.iterdir():
        if file.suffix in {".json", ".md"}:
            text = file.read_text()
            for path in (str(tiny_model), str(tmp_path), "/a/machine", "/somewhere"):
                assert path not in text, file.name


@pytest.mark.parametrize(
    ("model", "license_name"),
    [
        ("meta-llama/Llama-2-7b-hf", "llama2"),
        ("mistralai/Mistral-7B-v0.1", "apache-2.0"),
        ("Qwen/Qwen2.5-7B", "apache-2.0"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"),
        ("Qwen/Qwen2.5-72B", None),
        ("someone/else", None),
    ],
)
def test_the_card_names_the_base_and_its_licence_where_it_is_known(
    model: str, license_name: str | None
) -> None:
    from metamath_ray.training._model_card import render_model_card

    front_matter = render_model_card(TrainOptions(model=model), {}).split("---\n")[1]
    metadata = yaml.safe_load(front_matter)
    assert metadata["base_model"] == model
    assert metadata.get("license") == license_name


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param(lambda w: w.pop("model.norm.weight"), r"missing \['model.norm.weight'\]", id="missing"),
        pytest.param(lambda w: w.update({"extra": torch.ones(1)}), r"unknown \['extra'\]", id="unknown"),
        pytest.param(lambda w: w.update({"model.norm.weight": torch.ones(3)}), "do not fit", id="shape"),
    ],
)
def test_weights_of_another_model_are_refused_and_nothing_is_left(
    tiny_model: Path, tmp_path: Path, change: Any, complaint: str
) -> None:
    options = options_for(tiny_model)
    weights = trained_weights(load_student(options, device="cpu"))
    change(weights)
    with pytest.raises(ExportError, match=complaint):
        export_model(weights, options=options, output=tmp_path, record=RECORD)
    assert not (tmp_path / "model").exists()


def test_an_interrupted_export_leaves_the_earlier_one_and_the_next_replaces_it(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = options_for(tiny_model)
    weights = trained_weights(load_student(options, device="cpu"))
    folder = export_model(weights, options=options, output=tmp_path, record=RECORD)
    earlier = (folder / "model.safetensors").read_bytes()
    weights["model.norm.weight"] = weights["model.norm.weight"] + 1

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(_export, "_write_beside", fail)
        with pytest.raises(OSError, match="disk full"):
            export_model(weights, options=options, output=tmp_path, record=RECORD)
    assert (folder / "model.safetensors").read_bytes() == earlier
    export_model(weights, options=options, output=tmp_path, record=RECORD)
    assert (folder / "model.safetensors").read_bytes() != earlier
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_bf16_weights_that_the_adapter_leaves_alone_stay_as_they_are() -> None:
    weight = torch.randn(50, 70).bfloat16()
    assert torch.equal(_round_to_bf16(weight.float(), torch.Generator()), weight)


@pytest.mark.parametrize("sign", [1, -1])
def test_changes_smaller_than_a_step_of_bf16_survive_in_the_mean(sign: int) -> None:
    change = 2.0**-11  # an eighth of the step between 0.5 and its successor in bf16 (2 to the -8)
    weight = torch.full((200_000,), sign * (0.5 + change))
    assert weight.bfloat16().float().mean() == sign * 0.5, "rounding to the nearest drops the change"
    rounded = _round_to_bf16(weight, torch.Generator().manual_seed(0))
    assert rounded.float().mean() - sign * 0.5 == pytest.approx(sign * change, rel=0.05)


def test_two_exports_of_one_adapter_are_the_same_bytes(tiny_model: Path, tmp_path: Path) -> None:
    options = options_for(tiny_model, method="qlora", precision="bf16")
    weights = trained_weights(train(options))
    one, other = (
        export_model(weights, options=options, output=tmp_path / name, record=RECORD) for name in "ab"
    )
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_the_real_students_merged_export_gives_the_trained_logits(
    student_folder: Path, tmp_path: Path
) -> None:
    options = options_for(student_folder, method="qlora", lora=LoraOptions(rank=96, dropout=0.0))
    trained = train(options, steps=2)
    exported = load(export_model(trained_weights(trained), options=options, output=tmp_path, record=RECORD))
    difference = float((logits(exported) - logits(trained)).abs().max())
    print(f"logits of the merged export differ by {difference:.1e}")
    assert difference < 0.02
