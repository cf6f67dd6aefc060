"""The words that the package's functions speak: rule sets, verdicts and what decided them."""

from dataclasses import dataclass
from typing import Literal

RuleSet = Literal["fixed", "paper"]
"""`fixed`: this project's rules; `paper`: the original's, quirks included."""

AnswerStyle = Literal["gsm", "math"]
"""How answers are written: GSM8K's plain numbers or MATH's LaTeX (`Problem.style`)."""

AnswerVerdict = Literal["correct", "incorrect", "no_answer", "unknown"]
"""`unknown`: the symbolic step ran out of time or memory, or digits to tell two values; never counted correct."""

DecidedBy = Literal["none", "string", "number", "symbolic"]
"""The step that settled a verdict; `none` where nothing was compared, or nothing could settle it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The verdict on a pair of answers and the step that reached it."""

    verdict: AnswerVerdict
    decided_by: DecidedBy


@dataclass(frozen=True, slots=True)
class Graded:
    """A reply's final answer as extracted, with the verdict on it."""

    extracted: str | None
    verdict: AnswerVerdict
    decided_by: DecidedBy


NO_ANSWER = Comparison("no_answer", "none")
UNKNOWN = Comparison("unknown", "none")
SAME_STRING = Comparison("correct", "string")
OTHER_STRING = Comparison("incorrect", "string")
SAME_NUMBER = Comparison("correct", "number")
OTHER_NUMBER = Comparison("incorrect", "number")
SAME_SYMBOLIC = Comparison("correct", "symbolic")
OTHER_SYMBOLIC = Comparison("incorrect", "symbolic")
