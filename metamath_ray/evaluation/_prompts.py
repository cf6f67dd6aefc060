"""The prompts of an evaluation: the student's own, few-shot ones for other models, and the user's."""

from collections.abc import Callable
from importlib import resources
from pathlib import Path

from metamath_ray.problems import Problem
from metamath_ray.student_prompt import render_evaluation_prompt

PLACE = "{question}"
"""What a template has where the question goes."""


def load_prompt(prompt: str) -> Callable[[Problem], str]:
    """The function that writes a problem's prompt: `metamath`, `few-shot`, or a template file of the user's.

    `metamath` is zero-shot (PAPER.md, "Evaluation"); `few-shot` has solved examples of the problem's style.
    Raises `ValueError` for a file that is missing, can't be read, or has no `{question}`.
    """
    if prompt == "metamath":
        return _render_metamath
    if prompt == "few-shot":
        return _render_few_shot
    template = _read_template(Path(prompt).expanduser())
    return lambda problem: template.replace(PLACE, problem.question)


def _render_metamath(problem: Problem) -> str:
    return render_evaluation_prompt(problem.question)


def _render_few_shot(problem: Problem) -> str:
    text = (
        resources.files(__package__).joinpath("prompts", f"{problem.style}.txt").read_text(encoding="utf-8")
    )
    return text.removesuffix("\n").replace(PLACE, problem.question)


def _read_template(path: Path) -> str:
    try:
        template = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(
            f"prompt must be 'metamath', 'few-shot' or a readable file, got {str(path)!r}: {reason}"
        ) from None
    if template.count(PLACE) != 1:
        raise ValueError(
            f"prompt file {path} must hold {PLACE} once, it holds it {template.count(PLACE)} times"
        )
    return template.removesuffix("\n")
