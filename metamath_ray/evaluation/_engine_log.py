"""The engine's own words on why it did not start: its processes write them to the replica's output, not to us."""

import re
from pathlib import Path

_READ_AT_MOST = 1 << 20
_MAX_CHARS = 600
_PREFIX = re.compile(
    r"^(?:\([^()]*pid=\d+\)\s*)*(?:(?:ERROR|WARNING|INFO|CRITICAL) [\d-]+ [\d:.]+ \[[^\]]*\]\s*)?"
)
_ERROR = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit): ?\S")
_POINTERS = ("root cause", "See stack trace", "See log", "EngineDeadError", "ContextTerminated")


class EngineLog:
    """What this process and its children write to standard output and error from now on.

    In a Ray worker both are files; elsewhere nothing is found.
    """

    def __init__(self) -> None:
        self._starts = {path: path.stat().st_size for path in _output_files()}

    def root_cause(self) -> str | None:
        """The last line of an error that is no mere pointer to another one, on one line; None without any."""
        lines = [line for path, start in self._starts.items() for line in _read_lines(path, start)]
        return find_root_cause(lines)


def find_root_cause(lines: list[str]) -> str | None:
    """The line that names what went wrong in an engine's output; of several the last."""
    plain = [_PREFIX.sub("", line).strip() for line in lines]
    errors = [line for line in plain if _ERROR.match(line) and not any(word in line for word in _POINTERS)]
    return errors[-1][:_MAX_CHARS] if errors else None


def _output_files() -> list[Path]:
    paths = [Path(f"/proc/self/fd/{number}").readlink() for number in (1, 2)]
    return [path for path in dict.fromkeys(paths) if path.is_file()]


def _read_lines(path: Path, start: int) -> list[str]:
    with path.open("rb") as file:
        file.seek(max(start, path.stat().st_size - _READ_AT_MOST))
        return file.read().decode("utf-8", errors="replace").splitlines()
