"""What the benchmark asks: a few-shot prompt of about 3 KB, another question each time."""

MODEL = "limited"
SAMPLING = {"temperature": 0.7, "top_p": 1.0, "max_tokens": 512}

_SHOTS = [
    {
        "role": role,
        "content": f"{role} turn {number}: " + "a crate holds twelve jars and each jar weighs two. " * 6,
    }
    for number in range(4)
    for role in ("user", "assistant")
]


def messages_for(number: int) -> list[dict[str, str]]:
    """The few-shot turns and one question that no other request has."""
    question = (
        f"Farm {number} sends {number % 97} crates on Monday and twice as many on Friday. How many in all?"
    )
    return [*_SHOTS, {"role": "user", "content": question}]
