"""Adaptive sampling: where further reasoning paths are asked, and that nothing but the yields decides it."""

import random
from collections import Counter

import pyarrow as pa
import pytest

from metamath_ray.bootstrap import BuildOptions
from metamath_ray.bootstrap._candidates import CANDIDATE_SCHEMA
from metamath_ray.bootstrap._export import accepted_candidates, selection_rules
from metamath_ray.bootstrap._options import identity_of
from metamath_ray.bootstrap._plan import CellYield, Planner, Unit
from metamath_ray.bootstrap._sampling import CellModel, QuestionYield, allot_samples, uniform_paths
from metamath_ray.bootstrap._selection import find_survivors
from metamath_ray.bootstrap._yields import count_yields
from metamath_ray.problems import Problem

NEVER = QuestionYield(paths=8, correct=0, rows=0)
SOMETIMES = QuestionYield(paths=8, correct=4, rows=4)
ALWAYS = QuestionYield(paths=8, correct=8, rows=7)
ALWAYS_THE_SAME = QuestionYield(paths=8, correct=8, rows=1)
CELL = ("own", "answer_augmentation")
SEEDS = [
    Problem(f"s{i}", "own", "gsm", f"Ana has {i + 3} pens and buys {i + 40}. How many?", "9")
    for i in range(40)
]


def cell_of(*kinds: QuestionYield, each: int = 10) -> dict[tuple[int, int], QuestionYield]:
    """Questions of one seed each, of every kind `each`."""
    return {(i, 0): kind for i, kind in enumerate(kinds * each)}


def further(yields: dict, missing: float, **limits: int) -> Counter[QuestionYield]:
    """Further paths by kind of question."""
    allotted = allot_samples(list(yields), yields, missing=missing, **{"step": 2, "most": 16} | limits)
    counts: Counter[QuestionYield] = Counter()
    for key, paths in allotted.items():
        counts[yields[key]] += paths
    return counts


@pytest.mark.parametrize("other", [NEVER, ALWAYS_THE_SAME], ids=["is-never", "is-always-in-the-same-words"])
def test_a_question_that_is_sometimes_right_gets_more_than_one_that(other: QuestionYield) -> None:
    counts = further(cell_of(NEVER, SOMETIMES, ALWAYS_THE_SAME), missing=6)
    assert counts[SOMETIMES] > counts[other]


def test_what_is_hardly_ever_right_waits_for_all_that_is() -> None:
    counts = further(cell_of(NEVER, SOMETIMES, ALWAYS), missing=120, most=64)
    assert counts[NEVER] == 0
    assert counts[SOMETIMES] == counts[ALWAYS] == 80  # as many again as each has had
    counts = further(cell_of(NEVER, SOMETIMES), missing=1000)  # more than there can be
    assert counts[NEVER] == counts[SOMETIMES] == 80


def test_repeats_lower_the_chance_and_the_questions_own_most() -> None:
    model = CellModel.fit(list(cell_of(ALWAYS, ALWAYS_THE_SAME).values()))
    none = QuestionYield()
    chances = [
        model.outlook(kind, none).chance() for kind in (ALWAYS_THE_SAME, ALWAYS, QuestionYield(8, 8, 0))
    ]
    assert chances[0] < 0.6 * chances[1]
    assert chances[2] < chances[0]  # its right paths may be no rows at all
    assert model.outlook(ALWAYS, none).chance(8) < chances[1]


def test_that_lucky_questions_were_asked_more_does_not_lower_what_is_believed_of_all() -> None:
    yields = []
    for number in range(600):
        chance = random.Random(number)
        share = chance.betavariate(0.5, 0.4)
        correct = sum(chance.random() < share for _ in range(2))
        paths = 8 if correct == 2 else 2
        correct += sum(chance.random() < share for _ in range(paths - 2))
        yields.append(QuestionYield(paths, correct, correct))
    model = CellModel.fit(yields)
    assert model.mean == pytest.approx(0.5 / 0.9, abs=0.04)
    assert model.strength == pytest.approx(0.9, abs=0.3)


def test_new_questions_come_first_and_in_their_order() -> None:
    yields = cell_of(SOMETIMES, each=3)
    order = [(7, 0), *yields, (5, 0), (6, 0)]
    allotted = allot_samples(order, yields, missing=2.0, step=2, most=16)
    assert list(allotted.items())[:2] == [((7, 0), 2), ((5, 0), 2)]


def test_without_evidence_as_many_questions_are_opened_as_rows_are_missing() -> None:
    order = [(i, 0) for i in range(100)]
    assert allot_samples(order, {}, missing=20, step=2, most=16) == dict.fromkeys(order[:10], 2)


def test_a_hopeless_seed_gets_no_further_question_before_the_others() -> None:
    yields = {(i, v): NEVER if i < 5 else ALWAYS for i in range(10) for v in range(4)}
    order = [(i, v) for v in range(5) for i in range(10)]
    allotted = allot_samples(order, yields, missing=5, step=2, most=16)
    opened = [seed for seed, variant in allotted if variant == 4]
    assert opened
    assert opened == list(range(5, 5 + len(opened)))


@pytest.mark.parametrize(
    ("seen", "paths"),
    [
        pytest.param(QuestionYield(2, 1, 1), 2, id="as-many-as-it-had"),
        pytest.param(QuestionYield(12, 6, 6), 4, id="up-to-the-most"),
        pytest.param(QuestionYield(16, 8, 8), 0, id="at-the-most"),
        pytest.param(QuestionYield(is_usable=False), 0, id="no-question"),
    ],
)
def test_one_round_asks_of_one_question(seen: QuestionYield, paths: int) -> None:
    assert sum(allot_samples([(0, 0)], {(0, 0): seen}, missing=1, step=2, most=16).values()) == paths


def test_the_order_of_the_yields_changes_nothing() -> None:
    chance = random.Random(3)
    yields = {
        (i, v): QuestionYield(
            n := chance.choice([2, 4]), c := chance.randint(0, n), min(c, chance.randint(1, 4))
        )
        for i in range(60)
        for v in range(2)
    }
    order = [(i, v) for v in range(3) for i in range(60)]
    shuffled = dict(chance.sample(list(yields.items()), len(yields)))
    plans = [allot_samples(order, some, missing=40, step=2, most=16) for some in (yields, shuffled)]
    assert list(plans[0].items()) == list(plans[1].items())


def test_uniform_paths_are_those_that_uniform_sampling_took() -> None:
    yields = cell_of(NEVER, SOMETIMES, ALWAYS)
    paths = uniform_paths(list(yields), yields, step=2, most=16)
    assert paths == pytest.approx(8 * len(yields))
    lucky = {key: seen for key, seen in yields.items() if seen is ALWAYS} | {
        key: QuestionYield(2, 0, 0) for key, seen in yields.items() if seen is NEVER
    }
    paths = uniform_paths(list(lucky), lucky, step=2, most=8)
    assert paths is not None
    assert paths > sum(seen.paths for seen in lucky.values())
    assert uniform_paths(list(yields), yields, step=2, most=2) is None


def teacher_of(num_seeds: int):
    """A virtual ledger: question i is right with a chance of its own, its paths few or many."""
    shares = {i: random.Random(i).betavariate(0.4, 0.3) for i in range(num_seeds)}

    def reply(seed_index: int, sample: int) -> int | None:
        chance = random.Random(f"{seed_index} {sample}")
        is_right = chance.random() < shares[seed_index]
        return chance.randrange(1, 24) if is_right else None

    return reply


def run_to_target(sampling: str, target: int, num_seeds: int = 300) -> tuple[int, dict[int, set[int]]]:
    """Paths asked and rows got by question, planner against virtual ledger."""
    seeds = [Problem(f"s{i}", "own", "gsm", f"{i} pens?", "9") for i in range(num_seeds)]
    options = BuildOptions(
        targets={"own": {"answer_augmentation": target}},
        augmentations=("answer_augmentation",),
        max_samples_per_question=32,
        sampling=sampling,
    )
    planner, reply = Planner(seeds, options), teacher_of(num_seeds)
    right: dict[int, list[int]] = {i: [] for i in range(num_seeds)}
    asked: Counter[int] = Counter()
    got: dict = {}
    while planned := planner.next_round(got):
        for unit in planned[CELL]:
            assert unit.first_sample == asked[unit.seed_index]
            asked[unit.seed_index] += unit.num_samples
            samples = range(unit.first_sample, unit.first_sample + unit.num_samples)
            paths = (reply(unit.seed_index, sample) for sample in samples)
            right[unit.seed_index] += [path for path in paths if path is not None]
        rows = {i: set(paths) for i, paths in right.items()}
        questions = {(i, 0): QuestionYield(asked[i], len(right[i]), len(rows[i])) for i in sorted(asked)}
        got = {CELL: CellYield(asked.total(), sum(map(len, rows.values())), questions)}
    assert not planner.hit_round_limit
    return asked.total(), rows


def test_the_same_target_takes_fewer_paths_than_uniform_sampling() -> None:
    uniform, adaptive = (run_to_target(rule, target=900) for rule in ("uniform", "adaptive"))
    assert sum(map(len, adaptive[1].values())) >= 900
    assert adaptive[0] < 0.9 * uniform[0]


def path(
    question_id: str, variant: int, sample: int, verdict: str, response: str, question: str = "q"
) -> dict:
    row = dict.fromkeys(CANDIDATE_SCHEMA.names) | {"seed_id": "s1", "source": "own"}
    return row | {
        "augmentation": "rephrasing",
        "question_id": question_id,
        "variant": variant,
        "question": question,
        "expected": "9",
        "sample_index": sample,
        "response": f"{response}\nThe answer is: 9",
        "verdict": verdict,
        "request_key": f"{question_id} {sample}",
        "teacher": "t",
    }


def test_yields_are_counted_by_question() -> None:
    text = "Once there were {} apples and somebody took all of them away in the night."
    rows = [
        path("s1/rephrasing/0", 0, 0, "correct", text.format(7), "Which one?"),
        path("s1/rephrasing/0", 0, 1, "correct", text.format(7), "Which one?"),
        path("s1/rephrasing/0", 0, 2, "incorrect", text.format(8), "Which one?"),
        path("s1/rephrasing/3", 3, 0, "failed", "", "Something altogether different, is it?"),
        path("s1/rephrasing/unusable-4", 4, 0, "failed", "", ""),
    ]
    options = BuildOptions()
    counted = []
    for order in (rows, rows[::-1]):
        table = pa.Table.from_pylist(order, schema=CANDIDATE_SCHEMA)
        survivors = find_survivors(
            accepted_candidates(table, SEEDS[:2], options), selection_rules(options, None)
        )
        counted.append(count_yields(table, survivors, SEEDS[:2], 2))
    assert counted[0] == counted[1]
    got = counted[0]["own", "rephrasing"]
    assert (got.paths, got.rows) == (6, 1)
    assert got.questions == {
        (1, 0): QuestionYield(3, 2, 1),
        (1, 3): QuestionYield(1, 0, 0),
        (1, 4): QuestionYield(is_usable=False),
    }


def test_a_planned_unit_goes_on_where_the_question_stands() -> None:
    options = BuildOptions(
        targets={"own": {"answer_augmentation": 80}}, augmentations=("answer_augmentation",)
    )
    planner = Planner(SEEDS, options)
    assert sum(unit.num_samples for unit in planner.next_round({})[CELL]) == 80
    yields = {(i, 0): QuestionYield(4, 2, 2) for i in range(40)} | {(0, 0): QuestionYield(16, 8, 8)}
    units = planner.next_round({CELL: CellYield(172, 78, yields)})[CELL]
    assert units == [Unit(unit.seed_index, 0, 4, 2) for unit in units]
    assert len({unit.seed_index for unit in units} - {0}) == len(units) == 3  # two rows at 0.45 a path
    assert planner.next_round({CELL: CellYield(180, 80, yields)}) == {}


def test_the_rule_is_part_of_a_runs_identity_where_it_decides_something() -> None:
    rules = ("adaptive", "uniform")
    free = [identity_of(BuildOptions(sampling=rule)) for rule in rules]
    bound = [identity_of(BuildOptions(sampling=rule, targets={"own": {"fobar": 1}})) for rule in rules]
    assert free[0] == free[1]
    assert bound[0] != bound[1]
