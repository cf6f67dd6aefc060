"""From a seed to the questions of one augmentation: what the teacher is asked first, and what comes of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from metamath_ray.bootstrap._augmentations import (
    clean_rephrasing,
    clean_statement,
    declarative_request,
    fobar_question,
    masks_for_self_verification,
    self_verification_question,
)
from metamath_ray.bootstrap._mask import Compat, Mask
from metamath_ray.bootstrap._masking import find_masks
from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.bootstrap._prompts import Step
from metamath_ray.bootstrap._same_problem import keeps_the_problem
from metamath_ray.problems import Problem
from metamath_ray.released import Augmentation

NUM_STATEMENTS = 2
"""Samples asked of the rewriting of a seed's question into a statement; the first usable one is taken.

Paper mode asks for one: the paper's code takes what comes.
"""

SOLVE_STEP: dict[Augmentation, Step] = {
    "answer_augmentation": "solve",
    "rephrasing": "solve",
    "self_verification": "solve_self_verification",
    "fobar": "solve_fobar",
}


@dataclass(frozen=True, slots=True)
class Question:
    """A question derived from a seed, with the answer that its reasoning paths must reach."""

    id: str
    variant: int
    text: str
    expected: str
    mask_start: int = -1
    mask_end: int = -1


@dataclass(frozen=True, slots=True)
class FirstCall:
    """What the teacher is asked before there is a question: prompt step, user text, samples."""

    step: Step
    text: str
    first_sample: int
    num_samples: int


def num_questions_of(seed: Problem, augmentation: Augmentation, options: BuildOptions) -> int:
    """How many questions of this augmentation the seed can give under the options."""
    most = options.max_questions(augmentation)
    if augmentation in ("answer_augmentation", "rephrasing"):
        return most
    masks = usable_masks(seed, augmentation, compat=options.compat, order_seed=options.seed)
    return min(len(masks), most)


def usable_masks(seed: Problem, augmentation: Augmentation, *, compat: Compat, order_seed: int) -> list[Mask]:
    """The seed problem's masks for this augmentation, in an order drawn by `order_seed`."""
    masks = find_masks(seed.question, style=seed.style, compat=compat)
    if augmentation == "self_verification":
        masks = masks_for_self_verification(seed.question, masks, style=seed.style, compat=compat)
    return sorted(masks, key=lambda mask: hashlib.sha256(f"{order_seed}\n{mask.start}".encode()).digest())


def first_call(
    seed: Problem, augmentation: Augmentation, variants: Sequence[int], *, compat: Compat
) -> FirstCall | None:
    """The call that rephrasing and self-verification need before they have a question; None for the others."""
    if augmentation == "rephrasing":
        return FirstCall("rephrase", seed.question, min(variants), max(variants) - min(variants) + 1)
    if augmentation == "self_verification":
        text = declarative_request(seed.question, seed.answer, style=seed.style, compat=compat)
        return FirstCall("declare", text, 0, 1 if compat == "paper" else NUM_STATEMENTS)
    return None


def build_questions(
    seed: Problem,
    augmentation: Augmentation,
    variants: Sequence[int],
    replies: Sequence[str],
    *,
    compat: Compat,
    order_seed: int,
) -> list[Question]:
    """The questions that the seed gives; `replies` are the samples of `first_call`, in order.

    Fewer than `variants` come back where a reply is unusable or two rephrasings are the same. In paper mode
    only an empty reply is unusable; of equal rephrasings, which would have equal paths, one stays there too.
    """
    if augmentation == "answer_augmentation":
        return [Question(f"{seed.id}/answer_augmentation", 0, seed.question, seed.answer)]
    if augmentation == "rephrasing":
        return _rephrasings(seed, variants, replies, compat)
    masks = usable_masks(seed, augmentation, compat=compat, order_seed=order_seed)
    chosen = [(variant, masks[variant]) for variant in variants]
    if augmentation == "fobar":
        texts = [fobar_question(seed.question, mask, seed.answer) for _, mask in chosen]
    else:
        statements = (clean_statement(reply, answer=seed.answer, compat=compat) for reply in replies)
        statement = next((text for text in statements if text is not None), None)
        if statement is None:
            return []
        texts = [
            self_verification_question(seed.question, mask, statement, style=seed.style, compat=compat)
            for _, mask in chosen
        ]
    return [
        Question(
            f"{seed.id}/{augmentation}/{mask.start}-{mask.end}",
            variant,
            text,
            mask.value,
            mask.start,
            mask.end,
        )
        for (variant, mask), text in zip(chosen, texts, strict=True)
    ]


def _rephrasings(
    seed: Problem, variants: Sequence[int], replies: Sequence[str], compat: Compat
) -> list[Question]:
    questions: dict[str, Question] = {}
    for variant, reply in enumerate(replies, start=min(variants)):
        text = clean_rephrasing(reply, original=seed.question, compat=compat)
        if text is None or variant not in variants:
            continue
        if compat == "paper" or keeps_the_problem(seed.question, text, style=seed.style):
            questions.setdefault(
                text, Question(f"{seed.id}/rephrasing/{variant}", variant, text, seed.answer)
            )
    return list(questions.values())
