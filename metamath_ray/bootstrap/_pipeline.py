"""One round as one streaming Ray Data pipeline: first calls, questions, reasoning paths, verdicts, Parquet.

plan rows ──► first calls ──► questions ──► solve calls ──► graded paths ──► Parquet
              (rephrase,      (four kinds)   (n samples)     (verdicts)
               declare)
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from metamath_ray.bootstrap._candidates import CANDIDATE_SCHEMA, grade_candidate
from metamath_ray.bootstrap._mask import Compat
from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.bootstrap._plan import Unit
from metamath_ray.bootstrap._prompts import Prompts
from metamath_ray.bootstrap._questions import SOLVE_STEP, build_questions, first_call
from metamath_ray.problems import Problem
from metamath_ray.released import Augmentation
from metamath_ray.start_ray import os_error_in
from metamath_ray.teacher import ChatRequest, Failure, Outcome, RayGovernor, StageSetup, TeacherStage

_SEED_COLUMNS: list[tuple[str, pa.DataType]] = [
    (name, pa.string()) for name in ("seed_id", "source", "style", "seed_question", "seed_answer")
]
_UNITS = pa.list_(
    pa.struct([("variant", pa.int32()), ("first_sample", pa.int32()), ("num_samples", pa.int32())])
)
PLAN_SCHEMA = pa.schema([*_SEED_COLUMNS, ("augmentation", pa.string()), ("units", _UNITS)])
_QUESTION_SCHEMA = pa.schema(
    [
        *_SEED_COLUMNS,
        ("augmentation", pa.string()),
        ("variant", pa.int32()),
        ("question_id", pa.string()),
        ("question", pa.string()),
        ("expected", pa.string()),
        ("mask_start", pa.int32()),
        ("mask_end", pa.int32()),
        ("first_sample", pa.int32()),
        ("num_samples", pa.int32()),
        ("failure", pa.string()),
    ]
)
_GRADED = ("extracted", "verdict", "decided_by", "other_verdict")
_STYLED_SCHEMA = CANDIDATE_SCHEMA.append(pa.field("style", pa.string()))
_BLOCKS_AN_ACTOR = 16  # in work at once: four times what fills its slots, so that slow calls leave none idle

Row = dict[str, Any]


@dataclass(frozen=True)
class Questioner:
    """Turns a plan row into the first call, and its replies into question rows."""

    prompts: Prompts
    options: BuildOptions

    def request(self, row: Row) -> ChatRequest | None:
        """The first call of a plan row; None for augmentations that have none."""
        variants = [unit["variant"] for unit in row["units"]]
        call = first_call(_seed_of(row), row["augmentation"], variants, compat=self.options.compat)
        if call is None:
            return None
        messages = self.prompts.get(row["style"], call.step).messages(call.text, shots=self.options.shots)
        return ChatRequest(tuple(messages), call.first_sample, call.num_samples)

    def receive(self, row: Row, outcomes: list[Outcome]) -> list[Row]:
        """A row for each unit's question; a row with `failure` where there is none."""
        seed = _seed_of(row)
        shared = {name: row[name] for name, _ in _SEED_COLUMNS} | {"augmentation": row["augmentation"]}
        variants = sorted({unit["variant"] for unit in row["units"]})
        questions = build_questions(
            seed,
            row["augmentation"],
            variants,
            [_usable_text(outcome, self.options.compat) for outcome in outcomes],
            compat=self.options.compat,
            order_seed=self.options.seed,
        )
        by_variant = {question.variant: question for question in questions}
        rows = []
        for unit in row["units"]:
            question = by_variant.get(unit["variant"])
            built = (
                {"question_id": f"{seed.id}/{row['augmentation']}/unusable-{unit['variant']}"}
                | dict.fromkeys(("question", "expected"), "")
                | {"mask_start": -1, "mask_end": -1, "failure": _why(outcomes)}
                if question is None
                else _question_columns(asdict(question))
            )
            rows.append({**shared, **built, **unit})
        return rows


@dataclass(frozen=True)
class Solver:
    """Turns a question row into the call for its reasoning paths, and the replies into candidates."""

    prompts: Prompts
    options: BuildOptions

    def request(self, row: Row) -> ChatRequest | None:
        """The call for the row's samples; None where there is no question."""
        if row["failure"]:
            return None
        augmentation: Augmentation = row["augmentation"]
        prompt = self.prompts.get(row["style"], SOLVE_STEP[augmentation])
        messages = prompt.messages(row["question"], shots=self.options.shots)
        return ChatRequest(tuple(messages), row["first_sample"], row["num_samples"])

    def receive(self, row: Row, outcomes: list[Outcome]) -> list[Row]:
        """A candidate for each sample; one without a response where the question could not be built."""
        kept = (name for name in row if name in _STYLED_SCHEMA.names)
        shared = {name: row[name] for name in kept} | dict.fromkeys(_GRADED, "")
        if row["failure"]:
            return [shared | _no_reply(row["first_sample"], row["failure"], "")]
        samples = range(row["first_sample"], row["first_sample"] + row["num_samples"])
        return [
            shared | _reply_columns(sample, outcome, self.options.teacher.model)
            for sample, outcome in zip(samples, outcomes, strict=True)
        ]


def grade_table(table: pa.Table, *, options: BuildOptions, governor: RayGovernor) -> pa.Table:
    """The candidates with their verdicts; the governor is told how many of each."""
    rows = []
    for row in table.to_pylist():
        style = row.pop("style")
        rows.append(grade_candidate(row, style=style, compat=options.compat))
    governor.add_verdicts(Counter((row["augmentation"], row["verdict"]) for row in rows))
    return pa.Table.from_pylist(rows, schema=CANDIDATE_SCHEMA)


def plan_table(seeds: Sequence[Problem], groups: Sequence[tuple[int, Augmentation, list[Unit]]]) -> pa.Table:
    """The round's plan, a row for each seed and augmentation."""
    rows = []
    for seed_index, augmentation, units in groups:
        seed = seeds[seed_index]
        asked = [
            {"variant": u.variant, "first_sample": u.first_sample, "num_samples": u.num_samples}
            for u in units
        ]
        rows.append(
            {
                "seed_id": seed.id,
                "source": seed.source,
                "style": seed.style,
                "seed_question": seed.question,
                "seed_answer": seed.answer,
                "augmentation": augmentation,
                "units": asked,
            }
        )
    return pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)


def run_round(
    plan: pa.Table, *, setup: StageSetup, prompts: Prompts, options: BuildOptions, folder: Path
) -> None:
    """Run one round's plan through the cluster; its candidates are in `folder` as Parquet afterwards."""
    import ray
    from ray.data import ActorPoolStrategy, TaskPoolStrategy
    from ray.exceptions import RayError, RayTaskError

    blocks = split_plan(plan, num_rows=_rows_a_block(options), compat=options.compat)
    pool = partial(
        ActorPoolStrategy,
        size=options.num_workers,
        max_tasks_in_flight_per_actor=2 * _BLOCKS_AN_ACTOR,
        max_concurrent_calls_per_actor=_BLOCKS_AN_ACTOR,
    )
    dataset = ray.data.from_arrow(blocks)
    for maker, schema in (
        (Questioner(prompts, options), _QUESTION_SCHEMA),
        (Solver(prompts, options), _STYLED_SCHEMA),
    ):
        dataset = dataset.map_batches(
            TeacherStage,
            fn_constructor_args=(setup, maker.request, maker.receive, schema),
            batch_size=None,
            batch_format="pyarrow",
            compute=pool(),
            num_cpus=0.01,  # it waits for the network
        )
    graded = dataset.map_batches(
        grade_table,
        fn_kwargs={"options": options, "governor": setup.governor},
        batch_size=None,
        batch_format="pyarrow",
        compute=TaskPoolStrategy(),
        num_cpus=0.5,
    )
    try:
        graded.write_parquet(str(folder))
    except RayTaskError as error:
        raise os_error_in(error) or error from None
    except RayError as error:
        raise ConnectionError(
            f"Ray lost a worker ({' '.join(str(error).split())}); run again to go on; if that happens at once, see "
            "whether RAY_AUTH_MODE is here what it is on the cluster"
        ) from None


def split_plan(plan: pa.Table, *, num_rows: int, compat: Compat) -> list[pa.Table]:
    """The plan in blocks of about `num_rows`; rows with the same first call are in one.

    A block is asked for by one worker, which sends what two of its rows want once. Seeds that end in the same
    question with the same answer share their call for a statement.
    """
    groups: dict[object, list[int]] = {}
    for at, row in enumerate(plan.to_pylist()):
        call = first_call(_seed_of(row), row["augmentation"], [0], compat=compat)
        groups.setdefault((row["style"], call) if call else at, []).append(at)
    blocks: list[list[int]] = [[]]
    for group in groups.values():
        if len(blocks[-1]) >= num_rows:
            blocks.append([])
        blocks[-1] += group
    return [plan.take(block) for block in blocks if block]


def _rows_a_block(options: BuildOptions) -> int:
    """A quarter of a worker's slots: a block goes on when its slowest call is back."""
    return max(4, min(256, options.teacher.total_in_flight // (4 * options.num_workers)))


def _seed_of(row: Row) -> Problem:
    return Problem(
        id=row["seed_id"],
        source=row["source"],
        style=row["style"],
        question=row["seed_question"],
        answer=row["seed_answer"],
    )


def _question_columns(question: Row) -> Row:
    kept = {name: question[name] for name in ("expected", "mask_start", "mask_end")}
    return {"question_id": question["id"], "question": question["text"], "failure": "", **kept}


def _usable_text(outcome: Outcome, compat: Compat) -> str:
    """The text of a reply that came to its end; one that was cut is none but to the paper's code."""
    if isinstance(outcome, Failure):
        return ""
    return outcome.text if compat == "paper" or outcome.finish_reason == "stop" else ""


def _why(outcomes: list[Outcome]) -> str:
    failures = [outcome.reason for outcome in outcomes if isinstance(outcome, Failure)]
    return failures[0] if failures and len(failures) == len(outcomes) else "unusable"


def _reply_columns(sample: int, outcome: Outcome, teacher: str) -> Row:
    if isinstance(outcome, Failure):
        return _no_reply(sample, outcome.reason, outcome.key) | {"teacher": teacher}
    return {
        "sample_index": sample,
        "response": outcome.text,
        "finish_reason": outcome.finish_reason,
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "request_key": outcome.key,
        "teacher": teacher,
        "failure": "",
    }


def _no_reply(sample: int, failure: str, key: str) -> Row:
    return {
        "sample_index": sample,
        "response": "",
        "finish_reason": "",
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "request_key": key,
        "teacher": "",
        "failure": failure,
    }
