"""The rows of a JSONL file, each decoded alone so that one bad row hides no other."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_GZIP_MAGIC = b"\x1f\x8b"
_UTF8_BOM = b"\xef\xbb\xbf"
_JSON_CONSTANTS = {"None": "null", "True": "true", "False": "false"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a problem file: its fields, or a complaint where it holds no JSON object.

    `line` counts from 1, `number` counts rows from 0 (blank lines are no rows).
    """

    line: int
    number: int
    fields: dict[str, object] = field(default_factory=dict)
    complaint: str = ""


def read_rows(path: Path) -> list[Row]:
    """Every non-blank line of a JSONL file (UTF-8, with or without BOM, plain or gzip) as a row.

    Raises `FileNotFoundError` for a missing file, and `ValueError` for a directory and for an
    unreadable, damaged or empty file; each message names the path.
    """
    rows = list(rows_from_lines(_read_bytes(path).removeprefix(_UTF8_BOM).split(b"\n")))
    if not rows:
        raise ValueError(f"problem file {str(path)!r} is empty; it must hold one JSON object a line")
    return rows


def rows_from_lines(lines: Iterable[bytes]) -> Iterator[Row]:
    """Lines of JSON as rows; blank ones are left out but counted in `line`."""
    filled = ((line, text) for line, text in enumerate(lines, start=1) if text.strip())
    for number, (line, text) in enumerate(filled):
        try:
            yield Row(line, number, fields=_decode_object(text))
        except _NotAnObjectError as error:
            yield Row(line, number, complaint=f"{error}; each line must hold one JSON object")


class _NotAnObjectError(ValueError):
    """A line that holds no JSON object."""


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP_MAGIC) else content
    except FileNotFoundError:
        raise FileNotFoundError(f"problem file {str(path)!r} does not exist") from None
    except IsADirectoryError:
        raise ValueError(f"problem file {str(path)!r} is a directory; give one JSONL file") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"problem file {str(path)!r} is damaged gzip: {error}") from None
    except OSError as error:
        raise ValueError(f"problem file {str(path)!r} cannot be read: {error.strerror}") from None


def _decode_object(text: bytes) -> dict[str, object]:
    try:
        value = json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _NotAnObjectError(f"not UTF-8 (byte {error.start} of the line)") from None
    except json.JSONDecodeError as error:
        raise _NotAnObjectError(f"not JSON ({error.msg}, column {error.colno})") from None
    except RecursionError:
        raise _NotAnObjectError("not readable JSON (nested too deep)") from None
    except ValueError as error:  # Python reads no integer of more than 4,300 digits
        raise _NotAnObjectError(f"not readable JSON ({str(error).partition(';')[0]})") from None
    if not isinstance(value, dict):
        raise _NotAnObjectError(f"not an object but {describe(value)}")
    return value


def describe(value: object) -> str:
    """A JSON value in an error message: its text, cut at 40 characters, or the kind of a container."""
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "an object"
    text = _JSON_CONSTANTS.get(repr(value), repr(value))
    return text if len(text) <= 40 else text[:37] + "..."
