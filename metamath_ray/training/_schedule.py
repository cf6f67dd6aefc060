"""Learning rate and data order as pure functions of the step: what makes a resume exact."""

import math
from dataclasses import dataclass

import numpy as np

from metamath_ray.training._options import TrainOptions

PADDING = -1
"""Stands for no pack at all, where the last step has fewer packs than the others."""


def learning_rate(step: int, num_steps: int, options: TrainOptions) -> float:
    """The rate of the optimizer step `step` (from 0): linear warm-up, then cosine to 0 (as HF's) or constant."""
    num_warmup = math.ceil(num_steps * options.warmup_ratio)
    if step < num_warmup:
        return options.learning_rate * step / num_warmup
    if options.schedule == "constant":
        return options.learning_rate
    progress = (step - num_warmup) / max(num_steps - num_warmup, 1)
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Which packs each optimizer step learns from.

    The epochs' permutations (`seed + epoch`) lie one after another; step `s` takes the next
    `global_batch_size` packs, also over the end of an epoch. So a step number is all that a resume needs.
    """

    num_packs: int
    global_batch_size: int
    num_steps: int
    num_positions: int
    seed: int

    @classmethod
    def make(cls, num_packs: int, options: TrainOptions) -> "StepPlan":
        """The plan for `num_packs` packs: `options.epochs` passes, or `options.max_steps` steps."""
        size = options.global_batch_size
        if options.max_steps is not None:
            return cls(num_packs, size, options.max_steps, options.max_steps * size, options.seed)
        positions = max(round(num_packs * options.epochs), 1)
        return cls(num_packs, size, math.ceil(positions / size), positions, options.seed)

    def packs_of_step(self, step: int) -> np.ndarray:
        """Pack indices of a step, int64 (global_batch_size,); the last step is filled up with `PADDING`."""
        start = step * self.global_batch_size
        stop = min(start + self.global_batch_size, self.num_positions)
        indices = np.full(self.global_batch_size, PADDING, dtype=np.int64)
        position = start
        while position < stop:
            epoch, within = divmod(position, self.num_packs)
            taken = self._order(epoch)[within : within + stop - position]
            indices[position - start : position - start + len(taken)] = taken
            position += len(taken)
        return indices

    def epochs_after(self, step: int) -> float:
        """Passes over the data done once `step` steps are."""
        return min(step * self.global_batch_size, self.num_positions) / self.num_packs

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed + epoch]).permutation(self.num_packs)


def share_of_worker(indices: np.ndarray, *, rank: int, num_workers: int, micro_batch_size: int) -> np.ndarray:
    """One worker's micro-batches of a step's packs, (accumulation steps, micro_batch_size)."""
    return indices.reshape(-1, num_workers, micro_batch_size)[:, rank]
