"""What `--help` shows of a job: its description and its options in groups, as wide as the terminal."""

import argparse
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_WIDEST = 118
_LONGEST_CHOICE = 44
_METAVARS: dict[Any, str] = {int: "N", float: "X", bool: "yes|no", Path: "PATH"}

OptionPath = tuple[str, ...]
"""The names that lead to an option: `("teacher", "rpm")`."""


def walk_options(
    model: type[BaseModel], above: OptionPath = ()
) -> Iterator[tuple[OptionPath, FieldInfo, type[BaseModel]]]:
    """Every option with its path, its field, and the model that it stands in; models within models last."""
    nested: list[tuple[str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            nested.append((name, field.annotation))
        else:
            yield (*above, name), field, model
    for name, below in nested:
        yield from walk_options(below, (*above, name))


def flag_of(path: OptionPath) -> str:
    """`--teacher.max-in-flight` for `("teacher", "max_in_flight")`."""
    return "--" + ".".join(path).replace("_", "-")


def add_options(parser: argparse.ArgumentParser, model: type[BaseModel]) -> None:
    """Add an argument for every option, those of a nested model in a group under that model's docstring."""
    groups: dict[OptionPath, Any] = {}
    for path, field, owner in walk_options(model):
        above = path[:-1]
        if above not in groups:
            title = " ".join(above).replace("_", " ")
            groups[above] = parser.add_argument_group(title, _summary(owner)) if above else parser
        keywords: dict[str, Any] = {"dest": ".".join(path), "help": _help(field)}
        if field.annotation is bool:
            keywords["action"] = argparse.BooleanOptionalAction
        else:
            keywords["metavar"] = metavar_of(field.annotation)
            if get_origin(field.annotation) in (list, tuple):
                keywords |= {"nargs": "+", "action": "extend"}
        is_mapping = get_origin(field.annotation) is dict  # what is given there is read before
        groups[above].add_argument(flag_of(path) + ".NAME" * is_mapping, **keywords)


def metavar_of(annotation: Any) -> str:
    """What stands for a value in the help: its few choices, or N, X, PATH, TEXT."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return metavar_of(arguments[0])
    if origin in (Union, UnionType):
        known = [
            metavar_of(each) for each in arguments if each is not NoneType and get_origin(each) is not dict
        ]
        return "|".join(known)
    if origin in (list, tuple):
        return metavar_of(arguments[0])
    if origin is dict:
        return metavar_of(arguments[1])
    if origin is Literal:
        choices = "|".join(map(str, arguments))
        return choices if len(choices) <= _LONGEST_CHOICE else "NAME"
    return _METAVARS.get(annotation, "TEXT")


class Formatter(argparse.HelpFormatter):
    """As wide as the terminal (80 columns where there is none), at most `_WIDEST`; examples stay as they are."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, _WIDEST)
        super().__init__(prog, max_help_position=30 if width >= 100 else 24, width=width)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return (
            f"{action.metavar} ..." if action.nargs == "+" else super()._format_args(action, default_metavar)
        )

    def _format_action_invocation(self, action: argparse.Action) -> str:
        is_switch = isinstance(action, argparse.BooleanOptionalAction)
        if is_switch and not str(action.help).endswith("(default: yes)"):
            return action.option_strings[0]  # its --no-… is there for who overrides a file
        return super()._format_action_invocation(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return fill_description(text, width)


def fill_description(text: str, width: int) -> str:
    """Paragraphs filled to `width`; indented lines are commands, broken by backslashes where they are longer."""
    filled = []
    for paragraph in text.strip("\n").split("\n\n"):
        lines = paragraph.split("\n")
        if all(line.startswith("    ") for line in lines):
            filled.append("\n".join(part for line in _joined(lines) for part in _break_command(line, width)))
        else:
            filled.append(textwrap.fill(" ".join(paragraph.split()), width))
    return "\n\n".join(filled)


def _joined(lines: list[str]) -> list[str]:
    """Commands that a backslash had broken, whole again."""
    whole: list[str] = []
    for line in lines:
        if whole and whole[-1].endswith("\\"):
            whole[-1] = f"{whole[-1][:-1].rstrip()} {line.strip()}"
        else:
            whole.append(line.rstrip())
    return whole


def _break_command(command: str, width: int) -> Iterator[str]:
    first, *options = command.strip().split(" --")
    line = f"  {first}"
    for option in options:
        if len(line) + len(option) + 5 > width:
            yield f"{line} \\"
            line = f"      --{option}"
        else:
            line += f" --{option}"
    yield line


def _summary(owner: type[BaseModel]) -> str:
    return (owner.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ").replace("`", "").strip()


def _help(field: FieldInfo) -> str:
    text = field.description or ""
    default = field.get_default(call_default_factory=True)
    shown = " ".join(map(str, default)) if isinstance(default, tuple | list) else default
    if shown is not False and shown not in (None, "", {}) and "(default:" not in text:
        shown = "yes" if shown is True else f"{shown:g}" if isinstance(shown, float) else shown
        text = f"{text} (default: {shown})"
    return text.replace("%", "%%")  # argparse puts values in for %(name)s
