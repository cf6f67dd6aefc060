"""The prompt that a student is trained and evaluated with: Alpaca's, as PAPER.md gives it.

Pure text, so that training and evaluation, which do not import each other, share it.
"""

STUDENT_PROMPT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)
PAPER_INPUT_PROMPT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
EVALUATION_SUFFIX = " Let's think step by step."


def render_student_prompt(query: str) -> str:
    """The prompt before a training response; nothing stands between its last colon and the response."""
    return STUDENT_PROMPT.format(instruction=query)


def render_evaluation_prompt(query: str) -> str:
    """The prompt of a zero-shot evaluation (PAPER.md, "Evaluation"): the training prompt and the first words."""
    return render_student_prompt(query) + EVALUATION_SUFFIX


def render_paper_training_prompt(query: str) -> str:
    """What the original trained on: a query of several lines is split at its first newline.

    So a FOBAR row is trained on another prompt than it is evaluated with; paper mode repeats that.
    """
    instruction, _, rest = query.partition("\n")
    if not rest:
        return STUDENT_PROMPT.format(instruction=instruction)
    return PAPER_INPUT_PROMPT.format(instruction=instruction, input=rest)
