"""The one record type that every reader gives and every stage takes."""

from dataclasses import dataclass
from typing import Literal

Style = Literal["gsm", "math"]
"""Which prompts, masking and answer tail a problem takes: GSM8K's plain text or MATH's LaTeX."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A seed or benchmark problem with its gold answer.

    `id` is unique in a run and safe in file names. `source` is `gsm8k`, `math`, `bundled`, or the
    name that the user gave. `answer` is the cleaned gold (GSM8K: after `#### `, without thousands
    separators; MATH: inside the last `\\boxed{}`). `solution`, `level` and `subject` may be empty.
    """

    id: str
    source: str
    style: Style
    question: str
    answer: str
    solution: str = ""
    level: str = ""
    subject: str = ""
