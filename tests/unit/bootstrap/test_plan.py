from collections import Counter

import pytest

from metamath_ray.bootstrap import BuildOptions
from metamath_ray.bootstrap._plan import CellYield, Planner, Unit, group_by_seed
from metamath_ray.problems import Problem

SEEDS = [
    Problem(
        f"s{i}", "own", "gsm", f"Ana has {i + 3} pens. She buys {i + 40} more. How many now?", str(2 * i + 43)
    )
    for i in range(10)
]


def units_of(planner: Planner, yields: dict) -> list[tuple[str, Unit]]:
    return [(cell[1], unit) for cell, units in planner.next_round(yields).items() for unit in units]


def test_without_targets_every_question_is_sampled_once() -> None:
    planner = Planner(SEEDS, BuildOptions(samples_per_question=3))
    planned = units_of(planner, {})
    assert Counter(augmentation for augmentation, _ in planned) == dict.fromkeys(
        ("answer_augmentation", "rephrasing", "self_verification", "fobar"), 10
    )
    assert {unit.num_samples for _, unit in planned} == {3}
    assert planner.next_round({}) == {}


def test_a_round_asks_for_what_the_target_still_misses() -> None:
    options = BuildOptions(
        targets={"own": {"fobar": 8}}, samples_per_question=2, augmentations=("fobar",), sampling="uniform"
    )
    planner = Planner(SEEDS, options)
    first = planner.next_round({})["own", "fobar"]
    assert sum(unit.num_samples for unit in first) == 8
    second = planner.next_round({("own", "fobar"): CellYield(paths=8, rows=2)})["own", "fobar"]
    assert sum(unit.num_samples for unit in second) == 24  # 6 missing at one in four
    assert not set(first) & set(second)
    assert planner.next_round({("own", "fobar"): CellYield(paths=32, rows=8)}) == {}


def test_rounds_end_when_the_questions_run_dry() -> None:
    options = BuildOptions(
        targets={"own": {"answer_augmentation": 1000}},
        samples_per_question=2,
        max_samples_per_question=5,
        sampling="uniform",
    )
    planner = Planner(SEEDS, options)
    asked: list[Unit] = []
    while planned := planner.next_round({("own", "answer_augmentation"): CellYield(10, 0)}):
        asked += planned["own", "answer_augmentation"]
    samples = Counter(
        (u.seed_index, s) for u in asked for s in range(u.first_sample, u.first_sample + u.num_samples)
    )
    assert set(samples.values()) == {1}
    assert len(samples) == 50


def test_the_planner_says_that_the_round_limit_and_not_the_questions_ended_it(monkeypatch) -> None:
    monkeypatch.setattr("metamath_ray.bootstrap._plan.MAX_ROUNDS", 2)
    options = BuildOptions(targets={"own": {"fobar": 30}}, max_samples_per_question=64, sampling="uniform")
    planner = Planner(SEEDS, options)
    while planner.next_round({("own", "fobar"): CellYield(10, 25)}):
        assert not planner.hit_round_limit
    assert planner.num_rounds == 2
    assert planner.hit_round_limit
    few = BuildOptions(targets={"own": {"fobar": 30}}, max_samples_per_question=2, sampling="uniform")
    dry = Planner(SEEDS[:1], few)
    while dry.next_round({}):
        pass
    assert not dry.hit_round_limit


def test_a_plan_is_breadth_first_over_the_seeds() -> None:
    options = BuildOptions(targets={"own": {"rephrasing": 5}}, rephrasings_per_seed=3)
    units = Planner(SEEDS, options).next_round({})["own", "rephrasing"]
    assert len({unit.seed_index for unit in units}) == len(units)


@pytest.mark.parametrize("seed", [0, 1, 17])
def test_two_planners_plan_the_same(seed: int) -> None:
    options = BuildOptions(targets={"own": {"fobar": 3}}, seed=seed)
    assert Planner(SEEDS, options).next_round({}) == Planner(SEEDS, options).next_round({})


def test_what_shares_a_first_call_is_planned_in_one_row() -> None:
    options = BuildOptions(masks_per_seed=2, rephrasings_per_seed=2)
    groups = group_by_seed(Planner(SEEDS, options).next_round({}))
    assert len(groups) == len({(index, augmentation) for index, augmentation, _ in groups}) == 40
    assert [index for index, _, _ in groups] == sorted(index for index, _, _ in groups)
