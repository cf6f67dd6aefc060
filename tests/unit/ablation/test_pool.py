"""The rows that mixes draw from."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from metamath_ray.ablation._dev import cut_dev, load_seed_problems, write_dev
from metamath_ray.ablation._pool import Pool, calculation_of, load_pool
from metamath_ray.problems import Problem, load_problems

PROBLEMS = tuple(
    Problem(f"own-{i}", "own", "gsm", f"What is {i} plus 1?", str(i + 1), f"{i} + 1 = {i + 1}\n#### {i + 1}")
    for i in range(6)
)


def row(seed: int, kind: str, number: int) -> dict[str, Any]:
    query = PROBLEMS[seed].question if kind == "AnsAug" else f"{kind} {number} of {seed}"
    return {
        "type": f"OWN_{kind}",
        "query": query,
        "original_question": PROBLEMS[seed].question,
        "response": f"Path {number}: {seed} + 1 = {seed + 1}\nThe answer is: {seed + 1}",
        "row_id": f"{kind}/{seed}/{number}",
        "seed_id": PROBLEMS[seed].id,
    }


def path_of(seed: int, sample: int, verdict: str, response: str, extracted: str) -> dict[str, Any]:
    return {
        "question_id": f"own-{seed}/a",
        "seed_id": f"own-{seed}",
        "source": "own",
        "augmentation": "answer_augmentation",
        "question": PROBLEMS[seed].question,
        "response": response,
        "sample_index": sample,
        "verdict": verdict,
        "extracted": extracted,
    }


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A run directory: rows of six seeds, and some candidates."""
    problems = tmp_path / "own.jsonl"
    lines = ({"id": p.id, "question": p.question, "answer": p.solution} for p in PROBLEMS)
    problems.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    folder = tmp_path / "build"
    rows = [row(seed, kind, n) for seed in range(6) for kind in ("AnsAug", "SV") for n in range(2)]
    candidates = [
        path_of(0, 0, "correct", "0 + 1 = 1\nThe answer is: 1", "1"),
        path_of(0, 1, "correct", "So 0 + 1 = 1.\nThe answer is: 1", "1"),
        path_of(0, 2, "correct", "1 + 0 = 1\nThe answer is: $1.00", "$1.00"),
        path_of(1, 0, "incorrect", "1 + 1 = 3\nThe answer is: 3 apples", "3"),
        path_of(1, 1, "no_answer", "Who knows", ""),
        path_of(2, 0, "correct", "2 + 1 = 3\nThe answer is: 3", "3"),
        path_of(3, 0, "incorrect", "The answer is: 9", "9") | {"augmentation": "fobar"},
    ]
    for name, content in (("dataset", rows), ("candidates", candidates)):
        (folder / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(content), folder / name / "part-00000.parquet")
    (folder / "config.yaml").write_text(yaml.safe_dump({"seeds": [f"own:{problems}"], "limit_seeds": None}))
    return folder


def sizes(pool: Pool) -> dict[str, int]:
    return {name: len(rows) for name, rows in pool.groups.items()}


def test_a_builds_rows_and_its_seeds_solutions_are_there_by_type(build: Path) -> None:
    problems = load_seed_problems(str(build), ())
    pool = load_pool(str(build), ["AnsAug"], problems=problems, dev=())
    assert sizes(pool) == {"OWN_AnsAug": 12, "OWN_SV": 12, "OWN_SFT": 6}
    assert pool.rows_of("SFT")[0].response == "0 + 1 = 1\n#### 1\nThe answer is: 1"
    assert pool.known() == ("AnsAug", "SV", "SFT", "OWN_AnsAug", "OWN_SV", "OWN_SFT")


def test_paths_come_from_the_candidates_of_the_seeds_own_questions(build: Path) -> None:
    pool = load_pool(str(build), ["RFT", "incorrect"], problems=PROBLEMS, dev=())
    assert [(r.row_id, r.response) for r in pool.rows_of("RFT")] == [
        ("RFT/own-0/a/0", "0 + 1 = 1\n#### 1\nThe answer is: 1"),
        ("RFT/own-0/a/2", "1 + 0 = 1\n#### 1\nThe answer is: 1"),
        ("RFT/own-2/a/0", "2 + 1 = 3\n#### 3\nThe answer is: 3"),
    ]
    (wrong,) = pool.rows_of("incorrect")
    assert wrong.response == "1 + 1 = 3\n#### 3\nThe answer is: 3"


def test_no_row_of_a_dev_problem_is_left(build: Path) -> None:
    dev = (PROBLEMS[0], PROBLEMS[3])
    outside = build.parent / "outside.jsonl"
    asked = [PROBLEMS[0].question.replace(" ", "  "), "Something else?"]
    lines = ({"query": query, "response": "x\nThe answer is: 1"} for query in asked)
    outside.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    name = f"file:{outside}"
    pool = load_pool(str(build), ["RFT", "incorrect", name], problems=PROBLEMS, dev=dev)
    assert sizes(pool) == {
        "OWN_AnsAug": 8,
        "OWN_SV": 8,
        "OWN_SFT": 4,
        "OWN_RFT": 1,
        "OWN_incorrect": 1,
        name: 1,
    }
    assert pool.dropped["OWN_SV"] == {"dev": 4}
    assert pool.rows_of(name)[0].type == "outside"
    questions = {problem.question for problem in dev}
    left = [r for rows in pool.groups.values() for r in rows]
    assert not any(r.query in questions or r.original_question in questions for r in left)


def test_rows_that_only_name_the_seeds_question_are_held_out_with_it(build: Path, tmp_path: Path) -> None:
    released = tmp_path / "released.json"
    fields = ("type", "query", "original_question", "response")
    rows = [{name: row(seed, "SV", 0)[name] for name in fields} for seed in range(6)]
    released.write_text(json.dumps(rows))
    pool = load_pool(str(released), ["SV"], problems=PROBLEMS, dev=PROBLEMS[:2])
    assert sizes(pool)["OWN_SV"] == 4


def test_rows_that_training_would_drop_are_dropped_and_counted(tmp_path: Path) -> None:
    good = {"query": "q", "response": "r\nThe answer is: 1", "type": "X_SV"}
    rows = [
        good,
        good,
        good | {"query": " "},
        good | {"response": "r"},
        good | {"response": "The answer is: "},
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    pool = load_pool(str(path), ["SV"], problems=(), dev=())
    assert sizes(pool) == {"X_SV": 1}
    assert pool.dropped == {"X_SV": {"blank": 1, "duplicate": 1, "no_answer_tail": 2}}


def test_data_without_its_columns_is_refused_by_name(tmp_path: Path, build: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"query": ["q"], "type": ["SV"]}), path)
    with pytest.raises(ValueError, match="has no column 'response', only query, type"):
        load_pool(str(path), ["SV"], problems=(), dev=())
    with pytest.raises(ValueError, match="has no column 'response'"):
        load_pool(str(build), [f"file:{path}"], problems=(), dev=())


def test_paths_without_candidates_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"query": "q", "response": "r\nThe answer is: 1", "type": "X_SV"}]))
    with pytest.raises(ValueError, match=r"holds no candidates/\*\.parquet: RFT and incorrect rows"):
        load_pool(str(path), ["RFT"], problems=(), dev=())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param("2 + 3 = 5 apples", "So 2+3 = 5", True, id="words"),
        pytest.param("2 + 3 = 5", "3 + 2 = 5", False, id="order"),
        pytest.param("$1,200 * 2 = $2,400", "1200*2=2400", True, id="signs"),
        pytest.param("It is five", "It is  five", True, id="no-equation"),
        pytest.param("It is five", "Five it is", False, id="other-words"),
    ],
)
def test_paths_are_told_apart_by_their_calculations(one: str, other: str, same: bool) -> None:
    tail = "\nThe answer is: 5"
    assert (calculation_of(one + tail) == calculation_of(other + tail)) is same


def test_dev_problems_are_the_same_whatever_the_order_and_nested() -> None:
    few, more = cut_dev(PROBLEMS, 2, seed=0), cut_dev(PROBLEMS[::-1], 4, seed=0)
    assert more[:2] == few
    assert cut_dev(PROBLEMS, 4, seed=1) != more
    assert cut_dev(PROBLEMS * 10, None, seed=0) == cut_dev(PROBLEMS * 10, 6, seed=0)
    assert cut_dev(PROBLEMS, None, seed=0) == ()


def test_all_seeds_can_not_be_dev_problems() -> None:
    with pytest.raises(ValueError, match="must be fewer than the 6 seed problems, got 6"):
        cut_dev(PROBLEMS, 6, seed=0)


def test_dev_problems_read_back_as_they_were(tmp_path: Path) -> None:
    solution = r"Clearly $x = \boxed{\frac{1}{2}}$."
    problems = (
        *PROBLEMS[:2],
        Problem("m/1", "math", "math", "Find $x$.", r"\frac{1}{2}", solution, "Level 3", "Algebra"),
        Problem("g-1", "mine", "math", "Find $y$.", "7"),
        Problem("g-2", "mine", "gsm", "How many?", "7"),
    )
    loaded = load_problems(f"dev:{write_dev(problems, tmp_path / 'dev.jsonl')}", split="test").problems
    for before, after in zip(problems, loaded, strict=True):
        fields = ("id", "style", "question", "answer", "level", "subject")
        assert [getattr(after, name) for name in fields] == [getattr(before, name) for name in fields]


def test_seeds_that_are_gone_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"seeds": [f"own:{tmp_path}/gone.jsonl"]}))
    with pytest.raises(ValueError, match="name the seed problems with --problems"):
        load_seed_problems(str(tmp_path), ())
