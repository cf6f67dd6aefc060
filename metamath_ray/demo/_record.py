"""How long each step of the demo took, over all its starts."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from metamath_ray.run_folder import write_whole


@dataclass(slots=True)
class TimeRecord:
    """A JSON file of seconds by step; one that is missing or damaged holds none: nothing but the page needs it."""

    path: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
            self.seconds = {str(name): float(value) for name, value in values.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self.seconds = {}

    def add(self, step: str, seconds: float) -> None:
        """Add what a start of the step took."""
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds
        write_whole(self.path, json.dumps(self.seconds, indent=2) + "\n")
