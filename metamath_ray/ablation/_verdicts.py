"""Outcomes of trials as matrices, seeds by problems, with the same problems in the same order for every mix."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metamath_ray.ablation._outcomes import Outcome

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class MixVerdicts:
    """A mix on a benchmark: `correct[i, j]` tells whether the student of `seeds[i]` solved problem j."""

    seeds: tuple[int, ...]
    correct: Bools


def align_outcomes(
    outcomes: Iterable[Outcome], *, mixes: Sequence[str], benchmarks: Iterable[str]
) -> dict[str, dict[str, MixVerdicts]]:
    """Verdicts by benchmark and mix, in the orders given; what has no outcome is left out.

    Raises `ValueError`, in one line, for a mix or benchmark that is not among those given, for a trial that is there
    twice, and for trials of a benchmark that did not answer the same problems.
    """
    by_benchmark: dict[str, dict[str, dict[int, Outcome]]] = {name: {} for name in benchmarks}
    for one in outcomes:
        _check_known(one, mixes, by_benchmark)
        trials = by_benchmark[one.benchmark].setdefault(one.mix, {})
        if one.seed in trials:
            raise ValueError(f"{_name(one)} is there twice; each trial must be there once")
        trials[one.seed] = one
    return {
        name: _align({mix: trials[mix] for mix in mixes if mix in trials})
        for name, trials in by_benchmark.items()
        if trials
    }


def _check_known(one: Outcome, mixes: Sequence[str], benchmarks: Iterable[str]) -> None:
    for what, value, known in (("mix", one.mix, list(mixes)), ("benchmark", one.benchmark, list(benchmarks))):
        if value not in known:
            raise ValueError(f"{_name(one)}: the {what} must be one of {', '.join(known)}, got {value!r}")


def _align(trials: Mapping[str, Mapping[int, Outcome]]) -> dict[str, MixVerdicts]:
    by_seed = next(iter(trials.values()))
    first = by_seed[min(by_seed)]
    if not first.problem_ids:
        raise ValueError(f"{_name(first)} has no problem; a benchmark needs at least one")
    aligned = {}
    for mix, by_seed in trials.items():
        seeds = tuple(sorted(by_seed))
        rows = [_in_order_of(first, by_seed[seed]) for seed in seeds]
        aligned[mix] = MixVerdicts(seeds, np.array(rows, dtype=np.bool_))
    return aligned


def _in_order_of(first: Outcome, other: Outcome) -> list[bool]:
    verdicts = dict(zip(other.problem_ids, other.correct, strict=True))
    if len(verdicts) < len(other.problem_ids):
        twice = next(one for one in verdicts if other.problem_ids.count(one) > 1)
        raise ValueError(f"{_name(other)}: problem {twice!r} is there twice; each must be there once")
    if verdicts.keys() != set(first.problem_ids):
        one = min(verdicts.keys() ^ set(first.problem_ids))
        lacking = other if one not in verdicts else first
        raise ValueError(
            f"{_name(other)} has {len(other.problem_ids)} problems, {_name(first)} has {len(first.problem_ids)}, and "
            f"they are not the same ({one!r} is not in {_name(lacking)}); all mixes must answer the same problems"
        )
    return [verdicts[one] for one in first.problem_ids]


def _name(one: Outcome) -> str:
    return f"{one.benchmark} of mix {one.mix!r}, seed {one.seed}"
