"""What a user writes to name a set of problems: `NAME[:PATH]`."""

import re
from dataclasses import dataclass
from pathlib import Path

BUNDLED = "bundled"
BUNDLED_BACKWARD = "bundled_backward"
BUNDLED_NAMES = (BUNDLED, BUNDLED_BACKWARD)
"""The names that ship with the package and take no path."""

HUB_NAMES = ("gsm8k", "math", "gsm8k_backward")
"""The names that need no path: without one the Hugging Face hub has them."""

_NAME = re.compile(r"[a-z0-9_-]+")
_ALLOWED = (
    "allowed are 'bundled', 'gsm8k[:PATH]', 'math[:PATH]', or NAME:PATH with the path of a JSONL file; "
    "to evaluate also 'bundled_backward' and 'gsm8k_backward[:PATH]'"
)


@dataclass(frozen=True, slots=True)
class SeedSpec:
    """A set of problems by name, and the file that it is read from.

    `path` is `None` for the bundled sets, and for `gsm8k`, `math` and `gsm8k_backward` from the hub.
    Raises `ValueError` for a name outside `[a-z0-9_-]+`, for a path given to a bundled set, and for
    any other name that has no path.
    """

    name: str
    path: Path | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"problem set name must be of the characters a-z 0-9 _ -, got {self.name!r}; {_ALLOWED}"
            )
        if self.name in BUNDLED_NAMES and self.path is not None:
            raise ValueError(f"problem set {self.name!r} takes no path, got {str(self.path)!r}; {_ALLOWED}")
        if self.path is None and self.name not in (*BUNDLED_NAMES, *HUB_NAMES):
            raise ValueError(f"problem set {self.name!r} needs a path; {_ALLOWED}")


def parse_spec(text: str) -> SeedSpec:
    """The spec that `NAME[:PATH]` stands for; the path may hold further colons and a leading `~`.

    Raises `ValueError` as `SeedSpec` does, and for a colon with nothing after it.
    """
    name, colon, path = text.partition(":")
    if colon and not path:
        raise ValueError(f"problem set {text!r} has a colon but no path after it; {_ALLOWED}")
    return SeedSpec(name, Path(path).expanduser() if colon else None)
