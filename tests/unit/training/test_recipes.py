from pathlib import Path

import pytest

from metamath_ray.options import BadOptionsError, parse_options
from metamath_ray.training import TrainOptions
from metamath_ray.training._data_size import METAMATHQA
from metamath_ray.training._estimate import GIB, estimate
from metamath_ray.training._recipes import find_shape, list_recipes, load_recipe, recipe_defaults

NAMES = list_recipes()
MODELS = [name for name in NAMES if load_recipe(name).model]


def parse(*argv: str) -> TrainOptions:
    return parse_options(TrainOptions, argv, prog="job", description="A job.", defaults=recipe_defaults)


def test_all_the_promised_recipes_are_there() -> None:
    promised = {
        "full", "qlora", "llama2-7b", "llama2-13b", "mistral-7b", "llama2-70b-qlora", "qwen2.5-7b", "smollm2-135m-cpu",
    }  # fmt: skip
    assert promised <= set(NAMES)


@pytest.mark.parametrize("name", MODELS)
def test_expected_figures_are_the_estimators(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.hardware
    assert recipe.expected
    assert recipe.model
    needed = estimate(
        parse("--recipe", name), recipe.model, gpu=recipe.hardware.gpu, cpu_cores=recipe.hardware.cpu_cores
    )
    assert recipe.expected.memory_gib == pytest.approx(needed.memory_bytes / GIB, rel=0.1)
    assert recipe.expected.hours == pytest.approx(needed.hours, rel=0.1)


@pytest.mark.parametrize("name", MODELS)
def test_a_recipe_fits_its_hardware(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.hardware
    options = parse("--recipe", name)
    if recipe.hardware.gpu:
        assert options.num_workers == recipe.hardware.nodes * recipe.hardware.gpus_per_node
        assert recipe.expected
        assert recipe.expected.memory_gib < 0.9 * 80


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("llama2-7b", 6_738_415_616),
        ("llama2-13b", 13_015_864_320),
        ("llama2-70b-qlora", 68_976_648_192),
        ("mistral-7b", 7_241_732_096),
        ("qwen2.5-7b", 7_615_616_512),
        ("smollm2-135m-cpu", 134_515_008),
    ],
)
def test_the_shapes_have_the_published_number_of_parameters(name: str, parameters: int) -> None:
    shape = load_recipe(name).model
    assert shape
    assert shape.num_parameters == parameters


@pytest.mark.parametrize(
    ("name", "rate", "warmup"),
    [
        ("llama2-7b", 2e-5, 0.03),
        ("llama2-13b", 2e-5, 0.03),
        ("mistral-7b", 5e-6, 0.03),
        ("llama2-70b-qlora", 1e-4, 0.0),
    ],
)
def test_recipes_of_the_paper_have_its_settings(name: str, rate: float, warmup: float) -> None:
    options = parse("--recipe", name)
    assert (options.learning_rate, options.warmup_ratio, options.epochs, options.max_length) == (
        rate,
        warmup,
        3,
        512,
    )
    rows_a_pack = METAMATHQA.rows / METAMATHQA.packs
    assert options.global_batch_size * rows_a_pack == pytest.approx(128, rel=0.02)
    if options.method == "qlora":
        assert (options.lora.rank, options.lora.alpha, options.lora.dropout) == (96, 16, 0.05)


def test_flags_win_over_the_config_and_the_config_over_the_recipe(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("recipe: llama2-70b-qlora\nepochs: 2\nlora: {rank: 8}\n")
    options = parse("--config", str(config), "--lora.alpha", "32")
    assert (options.epochs, options.lora.rank, options.lora.alpha, options.lora.dropout) == (2, 8, 32, 0.05)
    assert options.learning_rate == 1e-4


def test_a_recipe_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("description: my own\noptions: {learning_rate: 3.0e-5}\n")
    assert parse("--recipe", str(path)).learning_rate == 3e-5
    assert load_recipe(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("- a list", "recipe bad must hold a mapping, got list", id="list"),
        pytest.param("description: [", "recipe bad is no YAML: ", id="no-yaml"),
        pytest.param("options: {}", "recipe bad: description: Field required", id="no-description"),
        pytest.param(
            "{description: x, options: {learning_rte: 1}}",
            "recipe bad: options: learning_rte: Extra",
            id="unknown-option",
        ),
        pytest.param(
            "{description: x, options: {recipe: full}}", "a recipe names no other recipe", id="nested"
        ),
    ],
)
def test_a_bad_recipe_file_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"^recipe bad") as error:
        load_recipe(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_recipe_names_the_nearest_and_all() -> None:
    with pytest.raises(
        BadOptionsError, match=r"'llama2-7' is unknown; did you mean llama2-7b\? there are full, "
    ) as error:
        parse("--recipe", "llama2-7")
    assert all(name in str(error.value) for name in NAMES)


def test_the_recipes_shape_stands_for_the_recipes_model_alone(tiny_model: Path) -> None:
    assert find_shape(parse("--recipe", "llama2-7b")) == load_recipe("llama2-7b").model
    assert find_shape(parse("--recipe", "llama2-7b", "--model", "somebody/else")) is None
    shape = find_shape(parse("--recipe", "llama2-7b", "--model", str(tiny_model)))
    assert shape
    assert shape.hidden == 32
