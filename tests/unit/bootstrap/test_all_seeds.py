"""Every published train seed through loading, masking and prompt building, for all four augmentations."""

from collections import Counter
from pathlib import Path

import pytest

from metamath_ray.bootstrap import BuildOptions, load_prompts
from metamath_ray.bootstrap._options import AUGMENTATIONS
from metamath_ray.bootstrap._questions import SOLVE_STEP, build_questions, first_call, num_questions_of
from metamath_ray.bootstrap._same_problem import same_numbers
from metamath_ray.problems import Problem, load_problems

pytestmark = pytest.mark.slow

OPTIONS = BuildOptions(masks_per_seed=99)


def replies_of(seed: Problem, augmentation: str) -> list[str]:
    """What an able teacher might say to the first call."""
    return (
        [f"Said otherwise: {seed.question}?"] if augmentation == "rephrasing" else [f"It is {seed.answer}."]
    )


@pytest.mark.slow
@pytest.mark.published
@pytest.mark.parametrize(
    ("spec", "num_seeds", "floors"),
    [
        pytest.param(
            "gsm8k:gsm8k_train.jsonl", 7473, {"fobar": 24_000, "self_verification": 18_000}, id="gsm8k"
        ),
        pytest.param("math:math_train.jsonl", 7500, {"fobar": 22_000, "self_verification": 7_000}, id="math"),
    ],
)
def test_every_seed_gives_its_questions_and_prompts(
    published: Path, spec: str, num_seeds: int, floors: dict[str, int]
) -> None:
    name, _, path = spec.partition(":")
    seeds = load_problems(f"{name}:{published / path}").problems
    prompts = load_prompts()
    counts: Counter[str] = Counter()
    for seed in seeds:
        for augmentation in AUGMENTATIONS:
            variants = range(num_questions_of(seed, augmentation, OPTIONS))
            if not variants:
                continue
            call = first_call(seed, augmentation, variants, compat="fixed")
            if call is not None:
                messages = prompts.get(seed.style, call.step).messages(call.text)
                assert messages[-1]["content"] == call.text
            replies = replies_of(seed, augmentation)
            for question in build_questions(
                seed, augmentation, variants, replies, compat="fixed", order_seed=0
            ):
                messages = prompts.get(seed.style, SOLVE_STEP[augmentation]).messages(question.text)
                assert messages[-1] == {"role": "user", "content": question.text}
                assert question.expected.strip()
                if question.mask_start >= 0:
                    assert "unknown variable" in question.text
                counts[augmentation] += 1
    print(name, dict(counts))
    assert len(seeds) == num_seeds
    assert counts["answer_augmentation"] == num_seeds
    for augmentation, floor in floors.items():
        assert counts[augmentation] >= floor


@pytest.mark.published
def test_the_number_check_holds_every_seed_against_itself(published: Path) -> None:
    for spec in (f"gsm8k:{published / 'gsm8k_train.jsonl'}", f"math:{published / 'math_train.jsonl'}"):
        for seed in load_problems(spec).problems:
            assert same_numbers(seed.question, f"Said otherwise: {seed.question}")
