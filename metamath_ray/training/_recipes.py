"""Recipes: defaults for a kind of training or a model, with the hardware they suit and what to expect of it."""

import difflib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from metamath_ray.training._options import TrainOptions
from metamath_ray.training._shape import ModelShape

_FOLDER = "recipes"


class Hardware(BaseModel):
    """What a recipe was laid out for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nodes: int = Field(1, ge=1)
    gpus_per_node: int = Field(0, ge=0)
    gpu: str | None = None
    cpu_cores: int | None = Field(None, ge=1)


class Expected(BaseModel):
    """What the estimator says of the recipe on its hardware; a test holds the two together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_gib: float = Field(gt=0, description="of a GPU, or of a CPU worker")
    hours: float = Field(gt=0, description="for all epochs over MetaMathQA's 395,000 rows")


class Recipe(BaseModel):
    """Defaults of a training run, under whatever flags and `--config` say; the bare methods name no model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    hardware: Hardware | None = None
    expected: Expected | None = None
    model: ModelShape | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _are_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        if "recipe" in options:
            raise ValueError("a recipe names no other recipe")
        try:
            TrainOptions.model_validate(options)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        return options


def list_recipes() -> list[str]:
    """The names of the recipes in the package."""
    folder = files("metamath_ray.training").joinpath(_FOLDER)
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def load_recipe(name_or_path: str) -> Recipe:
    """A recipe of the package by name, or of a YAML file by a path that ends in .yaml or .yml.

    Raises `ValueError` in one line: for an unknown name with the nearest one and all of them, for a file that is
    no recipe with the field that is wrong.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        return _load_file(Path(name_or_path))
    names = list_recipes()
    if name_or_path not in names:
        near = difflib.get_close_matches(name_or_path, names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(
            f"recipe {name_or_path!r} is unknown; {hint}there are {', '.join(names)}, or a path to a .yaml file"
        )
    text = (
        files("metamath_ray.training").joinpath(_FOLDER, f"{name_or_path}.yaml").read_text(encoding="utf-8")
    )
    return _parse(text, name=name_or_path)


def recipe_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the recipe that `given` names (default: `full`); for `metamath_ray.options.parse_options`."""
    name = given.get("recipe", TrainOptions.model_fields["recipe"].default)
    if not isinstance(name, str):
        raise ValueError(f"recipe must be a name or a path, got {name!r}")
    return load_recipe(name).options


def find_shape(options: TrainOptions) -> ModelShape | None:
    """The model's shape from its folder, or the recipe's where it is the recipe's model; None for another hub name.

    Raises `ValueError` where the folder's config.json can't be used.
    """
    folder = Path(options.model)
    if options.model and (folder / "config.json").is_file():
        return ModelShape.from_config(folder)
    recipe = load_recipe(options.recipe)
    return recipe.model if options.model == recipe.options.get("model", "") else None


def _load_file(path: Path) -> Recipe:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise ValueError(f"recipe {path}: {reason}") from None
    return _parse(text, name=path.stem)


def _parse(text: str, *, name: str) -> Recipe:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"recipe {name} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"recipe {name} must hold a mapping, got {type(values).__name__}")
    try:
        return TypeAdapter(Recipe).validate_python({"name": name} | values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"recipe {name}: {place}: {' '.join(message.split())}") from None
