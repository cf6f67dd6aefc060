"""What the teacher double writes: a statement, another wording, or a solution, as the prompt asks."""

import random
import re
from collections.abc import Sequence
from typing import Any

_WORDS = (
    "first",
    "then",
    "next",
    "hence",
    "here",
    "thus",
    "after",
    "we",
    "take",
    "count",
    "add",
    "keep",
    "share",
)


def reply_text(
    messages: Sequence[Any], chance: random.Random, answers: dict[str, str], right_share: float
) -> str:
    """A reply of the kind that the prompt asks for: a statement, another wording, or a solution."""
    last = messages[-1]["content"]
    if declared := re.fullmatch(r"Question: (.*)\nAnswer: (.*)", last.strip(), re.DOTALL):
        subject = chance.choice(["The result asked for", "What was asked", "The quantity"])
        return f"{subject} is {declared[2].strip()}."
    if re.search(r"in other words|rephrase|reword", messages[0]["content"], re.IGNORECASE):
        opening = chance.choice(
            ["Tell me", "Please work out the following", "Consider this and answer", "Say"]
        )
        return f"{opening}: {last}"
    answer = answers.get(last.strip())
    if answer is None or chance.random() >= right_share:
        answer = str(chance.randint(1, 20))
    steps = [" ".join(chance.choices(_WORDS, k=chance.randint(5, 12))) for _ in range(chance.randint(2, 4))]
    return "\n".join([f"{step.capitalize()}." for step in steps] + [f"The answer is: {answer}"])
