import json
from pathlib import Path
from typing import Any

import pytest

from metamath_ray.training import TrainOptions
from metamath_ray.training._data_size import DataSize
from metamath_ray.training._estimate import GIB, estimate
from metamath_ray.training._flops import flops_per_step, model_flops_per_token, peak_flops
from metamath_ray.training._plan import _memory_lines
from metamath_ray.training._recipes import load_recipe
from metamath_ray.training._shape import ModelShape

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 300,
}
SHAPE = load_recipe("llama2-7b").model
assert SHAPE


def options(**values: Any) -> TrainOptions:
    return TrainOptions.model_validate(
        {"num_workers": 8, "global_batch_size": 64, "micro_batch_size": 4} | values
    )


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        pytest.param("llama", {"tie_word_embeddings": True}, id="llama-tied"),
        pytest.param("llama", {"tie_word_embeddings": False, "head_dim": 16}, id="llama-wide-heads"),
        pytest.param("mistral", {}, id="mistral"),
        pytest.param("qwen2", {"tie_word_embeddings": True}, id="qwen2-biases"),
        pytest.param("qwen3", {"head_dim": 16}, id="qwen3-norms"),
    ],
)
def test_parameters_are_counted_exactly(tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(kind, **TINY, **more)
    config.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_config(config)
    assert ModelShape.from_config(tmp_path).num_parameters == sum(p.numel() for p in model.parameters())


def test_adapter_weights_are_counted_exactly(tiny_model: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    model = get_peft_model(base, LoraConfig(r=3, target_modules="all-linear"))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert ModelShape.from_config(tiny_model).num_adapter_weights(3) == trained


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(
            {"model_type": "gpt2"}, "model_type must be one of llama, mistral, qwen2, qwen3", id="family"
        ),
        pytest.param(
            {"model_type": "llama", "hidden_size": 8},
            "lacks num_hidden_layers, num_attention_heads",
            id="missing",
        ),
        pytest.param(
            TINY | {"model_type": "llama", "vocab_size": 0},
            "model.vocab must be at least 1, got 0",
            id="zero",
        ),
    ],
)
def test_a_config_that_cannot_be_used_is_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=message):
        ModelShape.from_config(tmp_path)


def test_zero_stages_shard_one_thing_more_each() -> None:
    stages = [estimate(options(zero_stage=stage), SHAPE, gpu="A100") for stage in (1, 2, 3)]
    parameters = SHAPE.num_parameters
    assert [one.optimizer for one in stages] == [pytest.approx(12 * parameters / 8)] * 3
    assert [one.gradients for one in stages] == pytest.approx(
        [4 * parameters, parameters / 2, parameters / 2]
    )
    assert [one.weights for one in stages] == pytest.approx([2 * parameters, 2 * parameters, parameters / 4])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        pytest.param({"gradient_checkpointing": True}, "activations", id="checkpointing"),
        pytest.param({"micro_batch_size": 2}, "activations", id="smaller-batch"),
        pytest.param({"max_length": 256}, "activations", id="shorter"),
        pytest.param({"loss_chunk_tokens": 128}, "loss", id="smaller-chunks"),
        pytest.param({"method": "qlora"}, "optimizer", id="adapter-states"),
        pytest.param({"method": "qlora"}, "weights", id="four-bits"),
        pytest.param({"device": {"offload_optimizer": "cpu"}}, "optimizer", id="offload-optimizer"),
        pytest.param({"zero_stage": 3, "device": {"offload_parameters": "cpu"}}, "weights", id="offload-parameters"),
    ],
)  # fmt: skip
def test_each_measure_saves_where_it_should(change: dict[str, Any], what: str) -> None:
    before, after = (estimate(options(**values), SHAPE, gpu="A100") for values in ({}, change))
    assert getattr(after, what) < 0.9 * getattr(before, what)


def test_eager_attention_keeps_the_scores_of_all_pairs() -> None:
    sdpa, eager = (
        estimate(options(attention=kind), SHAPE, gpu="A100").activations for kind in ("sdpa", "eager")
    )
    assert eager - sdpa == pytest.approx(
        32 * 4 * 512 * 32 * 512 * 6
    )  # layers, batch, length, heads, length, fp32 + bf16


def test_a_4_bit_base_takes_its_constants_too() -> None:
    shape = load_recipe("llama2-70b-qlora").model
    assert shape
    weights = estimate(options(method="qlora", lora={"rank": 1}), shape, gpu="A100").weights
    quantised = 80 * shape.layer_matrix_weights
    assert (weights - 2 * (shape.num_parameters - quantised)) / quantised == pytest.approx(
        4.127 / 8, rel=1e-3
    )


def test_model_flops_are_six_a_weight_and_half_the_square_of_a_document() -> None:
    dense = model_flops_per_token(SHAPE, document_length=0)
    assert dense == 6 * (SHAPE.num_parameters - SHAPE.embedding_weights - 65 * 4096)  # no lookup, no norms
    assert model_flops_per_token(SHAPE, document_length=300) - dense == 6 * 32 * 4096 * 300


def test_a_frozen_base_needs_two_thirds_of_the_flops() -> None:
    full = model_flops_per_token(SHAPE, document_length=0)
    assert model_flops_per_token(SHAPE, document_length=0, adapter_rank=1) / full == pytest.approx(
        2 / 3, rel=0.01
    )


def test_a_steps_flops_count_the_output_layer_on_responses_alone() -> None:
    whole, half = (
        flops_per_step(options(), SHAPE, tokens=1000, response_tokens=count, document_length=200)
        for count in (1000, 500)
    )
    assert whole - half == pytest.approx(6 * 500 * SHAPE.embedding_weights)
    assert flops_per_step(options(), SHAPE, tokens=0, response_tokens=0, document_length=0) == 0


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA A100-SXM4-80GB", 312),
        ("A100-80GB", 312),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA L40S", 362),
        ("NVIDIA L40", 181),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("Tesla V100-SXM2-32GB", 125),
        ("cpu", None),
        ("NVIDIA Unheard 9000", None),
    ],
)
def test_the_peak_of_a_gpu_is_found_by_its_name(name: str, tflops: float | None) -> None:
    assert peak_flops(name) == (None if tflops is None else tflops * 1e12)


def test_time_follows_flops_workers_and_checkpointing() -> None:
    plain = estimate(options(), SHAPE, gpu="A100").seconds
    assert plain
    halved = estimate(options(num_workers=16), SHAPE, gpu="A100").seconds
    recomputed = estimate(options(gradient_checkpointing=True), SHAPE, gpu="A100").seconds
    assert halved == pytest.approx(plain / 2)
    assert recomputed == pytest.approx(plain * 4 / 3, rel=0.01)
    assert estimate(options(), SHAPE, gpu="Unheard 9000").seconds is None


# Growth of resident memory at the peak, in MiB, by tests/benchmarks/training/bench_memory.py (SmolLM2-135M, CPU)
MEASURED = [
    ("fp32:2:512:z0", 4846),
    ("fp32:1:64:z0", 2847),
    ("fp32:1:256", 5385),
    ("bf16:1:256:z0", 2937),
    ("fp32:4:512:z0", 6666),
    ("fp32:2:512", 6481),
    ("fp32:1:64:z3", 5388),
    ("fp32:4:512:ckpt", 5406),
    ("bf16:1:512", 4650),
    ("fp32:1:512:eager", 5705),
    ("bf16:1:64:z3", 5929),
    ("bf16:2:512:ckpt", 4065),
    ("bf16:1:64:z1", 3763),
]


@pytest.mark.parametrize(("setting", "measured_mib"), MEASURED)
def test_memory_is_within_a_fifth_of_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, setting: str, measured_mib: int
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "training"))
    from bench_memory import parse_setting, predict

    assert predict(parse_setting(setting, "")) / 2**20 == pytest.approx(measured_mib, rel=0.2)


def test_a_whole_run_on_cpu_is_estimated_within_a_tenth() -> None:
    """Measured on GSM8K train: 8.2 GiB at the peak, 206 tokens a second on two quiet cores."""
    recipe = load_recipe("smollm2-135m-cpu")
    assert recipe.model
    data = DataSize(rows=2_500, tokens=537_500, packs=1_083, response_tokens=276_600, document_length=237.0)
    needed = estimate(TrainOptions.model_validate(recipe.options), recipe.model, data=data, cpu_cores=2)
    assert needed.memory_bytes / GIB == pytest.approx(8.2, rel=0.1)
    assert needed.seconds == pytest.approx(needed.num_tokens / 206, rel=0.1)


def test_a_run_that_fits_an_a100_is_told_from_one_that_does_not() -> None:
    shape = load_recipe("llama2-13b").model
    assert shape
    assert (
        estimate(options(zero_stage=3, gradient_checkpointing=True), shape, gpu="A100").memory_bytes
        < 40 * GIB
    )
    assert estimate(options(num_workers=1, zero_stage=0), shape, gpu="A100").memory_bytes > 80 * GIB


@pytest.mark.parametrize(
    ("gpu", "change"),
    [
        ("A100", {}),
        ("A100", {"micro_batch_size": 1, "max_length": 16}),
        (None, {}),
        (None, {"zero_stage": 3, "precision": "fp32"}),
    ],
    ids=["gpu", "gpu-small-batch", "cpu", "cpu-zero-3"],
)
def test_the_plan_shows_parts_that_add_up(gpu: str | None, change: dict[str, Any]) -> None:
    needed = estimate(options(**change), SHAPE, gpu=gpu, cpu_cores=8)
    total, parts = _memory_lines(needed, on_gpu=gpu is not None)
    shown = [float(part.rsplit(" ", 1)[1]) for part in parts.split(", ")]
    assert total == f"memory: {needed.memory_bytes / GIB:.2f} GiB a {'GPU' if gpu else 'worker'}, the sum of"
    assert sum(shown) == pytest.approx(needed.memory_bytes / GIB, abs=0.005 * (len(shown) + 1))
    spare = "what the allocator can't use" if gpu else "freed memory that is kept"
    assert spare in parts


@pytest.mark.parametrize("place", ["cpu", "nvme"])
def test_what_is_offloaded_counts_where_it_goes(place: str) -> None:
    device = {"kind": "gpu", "offload_optimizer": place, "offload_parameters": place}
    needed = estimate(options(zero_stage=3, device=device), SHAPE, gpu="A100")
    there, elsewhere = needed.host_bytes, needed.nvme_bytes
    if place == "nvme":
        there, elsewhere = elsewhere, there
    assert elsewhere == 0
    assert there == pytest.approx(SHAPE.num_parameters * (12 + 4 + 2) / 8, rel=1e-3)
