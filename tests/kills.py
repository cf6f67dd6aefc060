"""What the tests that kill a training run share: when to kill, and what a resume looks like from outside."""

import os
import random
from collections.abc import Sequence

from metamath_ray.step_metrics import StepMetrics

SEED = "METAMATH_RAY_KILL_SEED"


def kill_draw() -> random.Random:
    """A generator of its own for each call; its seed is printed, and METAMATH_RAY_KILL_SEED repeats it."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(2**32))
    print(f"{SEED}={seed}")
    return random.Random(seed)


def check_resumed(steps: Sequence[StepMetrics], *, every_steps: int, seen: int) -> None:
    """The run went on right after its newest checkpoint, once; it had done `seen` steps or more when it was killed.

    A step is begun only when the checkpoint of the step before it is kept: that bounds what a kill may cost.
    """
    attempts = [step.attempt for step in steps]
    assert sorted(attempts) == attempts, attempts
    assert set(attempts) == {0, 1}, "it was started anew, or not once"
    kept = attempts.count(0)
    assert kept % every_steps == 0, f"it went on after step {kept}, where no checkpoint was"
    assert kept >= (seen - 1) // every_steps * every_steps, f"{seen} steps were done, it went on after {kept}"
