import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from metamath_ray.training._model import choose_attention, load_config, load_student, load_tokenizer
from metamath_ray.training._options import TrainOptions


@pytest.fixture
def broken_model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def options_for(folder: Path | str, **changes: object) -> TrainOptions:
    return TrainOptions.model_validate({"model": str(folder), "precision": "fp32"} | changes)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "torch.float32"), ("bf16", "torch.bfloat16")])
def test_the_student_trains_in_the_asked_precision_without_a_cache(
    tiny_model: Path, precision: str, dtype: str
) -> None:
    student = load_student(options_for(tiny_model, precision=precision), device="cpu")
    assert {str(p.dtype) for p in student.parameters()} == {dtype}
    assert student.training
    assert student.config.use_cache is False
    assert all(p.requires_grad for p in student.parameters())


def test_gradient_checkpointing_leaves_the_gradients_as_they_are(tiny_model: Path) -> None:
    import torch

    ids = torch.arange(5, 45)[None]
    gradients = []
    for checkpointing in (False, True):
        student = load_student(options_for(tiny_model, gradient_checkpointing=checkpointing), device="cpu")
        assert student.is_gradient_checkpointing is checkpointing
        student(input_ids=ids, labels=ids).loss.backward()
        gradients.append([p.grad for p in student.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_zero_3_shares_the_weights_out_while_they_load_and_only_then(tiny_model: Path) -> None:
    pytest.importorskip("deepspeed")
    from transformers.integrations import is_deepspeed_zero3_enabled

    from metamath_ray.training._model import _partitioned_loading

    config = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3}}
    for stage, shares in ((2, False), (3, True)):
        with _partitioned_loading({**config, "zero_optimization": {"stage": stage}}):
            assert is_deepspeed_zero3_enabled() is shares
        assert is_deepspeed_zero3_enabled() is False


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        pytest.param(lambda folder: (folder / "config.json").unlink(), "without config.json", id="no-config"),
        pytest.param(
            lambda folder: (folder / "model.safetensors").unlink(), "safetensors weights", id="no-weights"
        ),
        pytest.param(
            lambda folder: (folder / "model.safetensors").write_bytes(b"\x10" * 64), "loaded", id="torn-file"
        ),
    ],
)
def test_a_folder_that_is_no_whole_model_is_refused(
    broken_model: Path, spoil: object, complaint: str
) -> None:
    spoil(broken_model)
    with pytest.raises(ValueError, match=complaint):
        load_student(options_for(broken_model), device="cpu")


def test_missing_weights_are_named(broken_model: Path) -> None:
    weights = load_file(broken_model / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, broken_model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights .*model\.layers\.1\.mlp\.up_proj\.weight"):
        load_student(options_for(broken_model), device="cpu")


@pytest.mark.parametrize("load", [load_tokenizer, load_config])
@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("", "got ''"),
        ("gone", "there is no such folder$"),
        ("./not/there", "there is no such folder$"),
        ("/no/such/folder", "there is no such folder$"),
    ],
    ids=["empty", "name", "relative", "absolute"],
)
def test_a_model_that_is_not_there_is_refused_without_asking_the_hub(
    load: object, model: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        load(model)


def test_a_tokenizer_without_an_end_token_is_refused(broken_model: Path) -> None:
    path = broken_model / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token": None}))
    with pytest.raises(ValueError, match="no eos_token"):
        load_tokenizer(str(broken_model))


def test_auto_attention_is_by_document_on_cpu_and_sdpa_where_flash_attention_cannot_run() -> None:
    assert choose_attention("auto", device="cpu", precision="bf16") == "documents"
    assert choose_attention("auto", device="gpu", precision="fp32") == "sdpa"
    assert choose_attention("eager", device="cpu", precision="fp32") == "eager"


@pytest.mark.parametrize(
    ("device", "precision", "reason"), [("cpu", "bf16", "GPUs only"), ("gpu", "fp32", "bf16 only")]
)
def test_flash_attention_is_refused_where_it_cannot_run(device: str, precision: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        choose_attention("flash_attention_2", device=device, precision=precision)


def test_flash_attention_is_taken_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert choose_attention("auto", device="gpu", precision="bf16") == "flash_attention_2"
