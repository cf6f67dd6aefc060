import pyarrow as pa

from metamath_ray.bootstrap import BuildOptions
from metamath_ray.bootstrap._pipeline import plan_table, split_plan
from metamath_ray.bootstrap._plan import Planner, group_by_seed
from metamath_ray.problems import Problem


def plan_of(questions: list[str]) -> pa.Table:
    seeds = [Problem(f"s{i}", "own", "gsm", question, "12") for i, question in enumerate(questions)]
    return plan_table(seeds, group_by_seed(Planner(seeds, BuildOptions()).next_round({})))


def test_seeds_that_share_a_first_call_are_asked_by_one_worker() -> None:
    same_end = [f"Ana picks {i + 20} plums and eats {i + 8}. How many are left?" for i in range(40)]
    other_end = [
        f"Ben has {i + 20} pens and loses {i + 8}. How many pens has Ben number {i}?" for i in range(40)
    ]
    blocks = split_plan(plan_of(same_end + other_end), num_rows=8, compat="fixed")
    holding = [
        number
        for number, block in enumerate(blocks)
        for row in block.to_pylist()
        if row["augmentation"] == "self_verification" and row["seed_question"] in same_end
    ]
    assert len(holding) == 40
    assert len(set(holding)) == 1
    assert sum(block.num_rows for block in blocks) == 80 * 4
    assert max(block.num_rows for number, block in enumerate(blocks) if number not in holding) == 8
