"""The resolved options as a table that can be shown to anybody."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_SECRET_WORDS = {"key", "secret", "password", "passwd", "token", "credential", "credentials", "auth"}

_HIDDEN = "(not shown)"


def shown_options(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Dotted name and value of every option; no secret, and no user, password or query of a URL.

    A run never stores a key. Should a configuration hold one all the same, its value stays out.
    """
    return [(name, _HIDDEN if _is_secret(name) else _text(value)) for name, value in _flatten(config)]


def _flatten(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{path}.")
        else:
            yield path, value


def _is_secret(name: str) -> bool:
    words = name.rsplit(".", 1)[-1].lower().replace("-", "_").split("_")
    return not _SECRET_WORDS.isdisjoint(words)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value) or "–"
    if isinstance(value, str) and "://" in value:
        return _without_credentials(value)
    return str(value) if value != {} else "–"


def _without_credentials(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return _HIDDEN
    host = parts.netloc.rsplit("@", 1)[-1]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
