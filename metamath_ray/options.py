"""One pydantic model of options from YAML, flags and defaults; every job's command line goes through here."""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from metamath_ray import __version__
from metamath_ray._help import Formatter, OptionPath, add_options, walk_options

M = TypeVar("M", bound=BaseModel)

_RECORDED = ("metamath_ray_version", "prompts_sha256", "seeds_sha256")
"""What a run adds to its options in `config.yaml`: with them that file can be given as `--config`."""


class BadOptionsError(ValueError):
    """The command line or the configuration file can't be used; the text is the one line to print."""


def parse_options(
    model: type[M],
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    defaults: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
) -> M:
    """The options from `--config FILE.yaml`, overridden by flags, checked by `model`.

    Flags are dotted paths in kebab case (`--teacher.max-in-flight 8`); free mappings take any path below
    their name (`--targets.gsm8k.fobar 100`). `defaults` gets what file and flags say, unchecked, and gives values
    that stand where they say nothing, before the model's own; its `ValueError` is the user's mistake.
    Raises `BadOptionsError`; `--help` prints and exits 0.
    """
    mappings = [path for path, field, _ in walk_options(model) if _is_mapping(field)]
    flags, free = _split_free(argv, mappings)
    given = vars(_parser(model, prog, description).parse_args(flags))
    config: Path | None = given.pop("config")
    values = _load_yaml(config)
    if config is not None:
        _check_names(values, model, config)
    for dest, value in given.items():
        _put(values, dest.split("."), value)
    for path, value in free:
        _put(values, path, value)
    if defaults is not None:
        values = _under(values, _defaults(defaults, values))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise BadOptionsError(_one_line(error)) from None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: "):
            unknown = message.split(": ", 1)[1].split()[0]
            known = [name for action in self._actions for name in action.option_strings]
            raise BadOptionsError(f"unknown option {unknown}{_hint(unknown, known)}")
        raise BadOptionsError(message.removeprefix("argument "))


def _hint(unknown: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(unknown, list(known), n=1)
    return f", did you mean {near[0]}?" if near else "; --help lists them all"


def _parser(model: type[BaseModel], prog: str, description: str) -> _Parser:
    parser = _Parser(
        prog=prog,
        usage=f"{prog} [--config FILE.yaml] [--option value ...]",
        description=description,
        formatter_class=Formatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help="show this and exit")
    parser.add_argument(
        "--version", action="version", version=f"metamath_ray {__version__}", help="show the version and exit"
    )
    parser.add_argument(
        "--config", type=Path, default=None, metavar="FILE.yaml", help="options as YAML; flags win"
    )
    add_options(parser, model)
    return parser


def _is_mapping(field: FieldInfo) -> bool:
    kinds = (field.annotation, *get_args(field.annotation))
    return any((get_origin(kind) or kind) is dict for kind in kinds)


def _split_free(
    argv: Sequence[str], mappings: list[OptionPath]
) -> tuple[list[str], list[tuple[list[str], str]]]:
    """Take `--mapping.any.path value` and `--mapping.any.path=value` out of the arguments."""
    flags: list[str] = []
    free: list[tuple[list[str], str]] = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        path = name[2:].split(".")
        option = tuple(part.replace("-", "_") for part in path)
        if name.startswith("--") and any(len(path) > len(m) and option[: len(m)] == m for m in mappings):
            if not equals and (value := next(words, "")) == "":
                raise BadOptionsError(f"{name} needs a value")
            free.append(([*option[:1], *path[1:-1], option[-1]], value))
        else:
            flags.append(word)
    return flags, free


def _load_yaml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise BadOptionsError(f"--config {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadOptionsError(f"--config {path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise BadOptionsError(f"--config {path} must hold a mapping of options, got {type(values).__name__}")
    return {name: value for name, value in values.items() if name not in _RECORDED}


def _check_names(
    values: Mapping[str, Any], model: type[BaseModel], config: Path, above: OptionPath = ()
) -> None:
    """Raise `BadOptionsError` for the first name in the file that is no option, with the nearest that is one."""
    for name, value in values.items():
        field = model.model_fields.get(name) if isinstance(name, str) else None
        if field is None:
            written = ".".join([*above, str(name)])
            known = [".".join([*above, each]) for each in model.model_fields]
            raise BadOptionsError(f"--config {config}: unknown option {written}{_hint(written, known)}")
        below = field.annotation
        if isinstance(below, type) and issubclass(below, BaseModel) and isinstance(value, Mapping):
            _check_names(value, below, config, (*above, name))


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        below = values.setdefault(name, {})
        if not isinstance(below, dict):
            below = values[name] = {}
        values = below
    values[path[-1]] = value


def _defaults(
    defaults: Callable[[Mapping[str, Any]], Mapping[str, Any]], values: Mapping[str, Any]
) -> Mapping[str, Any]:
    try:
        return defaults(values)
    except ValueError as error:
        raise BadOptionsError(str(error)) from None


def _under(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, and `defaults` where they have none, mappings merged at every depth."""
    merged = {**defaults, **values}
    for name, default in defaults.items():
        value = merged[name]
        if isinstance(default, Mapping) and isinstance(value, Mapping):
            merged[name] = _under(value, default)
    return merged


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join(part for part in map(str, first["loc"]) if "[" not in part)  # the rest is a place
    if first["type"] == "extra_forbidden":
        return f"unknown option {path}; --help lists them all"
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    secret = any(word in path for word in ("key", "url"))  # where a user may have put a key by mistake
    got = "" if first["type"] == "value_error" or secret else f", got {first['input']!r}"
    return f"{path} {message}{got}".strip()


def fail(message: str, code: int) -> NoReturn:
    """Print why the job ends, on one line, and end it with `code` (2 bad input, 3 stopped, 1 failure)."""
    fail_with_all([message], code)


def fail_with_all(messages: Sequence[str], code: int) -> NoReturn:
    """The same for several reasons, a line each."""
    for message in messages:
        print(f"error: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201  # the jobs' last words
    sys.exit(code)
