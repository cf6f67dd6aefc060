"""A teacher that answers in batches is asked before a round for all that the round asks of the ledger."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.bootstrap._pipeline import Questioner, Solver
from metamath_ray.bootstrap._prompts import Prompts
from metamath_ray.teacher import (
    ApiKeys,
    BatchTeacher,
    ChatRequest,
    Failure,
    LedgerReader,
    Outcome,
    Reply,
    Usage,
    build_index,
    count_open_batches,
    segment_paths,
)

logger = logging.getLogger(__name__)

_FOLDER = "batches"

KnownOutcomes = Callable[[ChatRequest], Sequence[Reply | Failure | None]]
"""What is known of each sample of a request; None for one that is still to be asked for."""


@contextmanager
def open_batches(
    options: BuildOptions, api_keys: ApiKeys, run_dir: Path, ledgers: Sequence[Path], bought: Usage
) -> Iterator[BatchTeacher | None]:
    """The run's teacher in batches, where it is to be asked so; None, and a word on batches left open, if not.

    Replies in `ledgers` are not bought, those that come go into the first. `bought` is what the run has paid for
    until now. Raises `TeacherStoppedError` as `BatchTeacher` does.
    """
    teacher = options.teacher
    if teacher.interface != "batch":
        if num_open := count_open_batches(run_dir / _FOLDER):
            logger.warning(
                "%d batches of this run may still be open at the provider; only --teacher.interface batch takes "
                "their replies",
                num_open,
            )
        yield None
        return
    reader = LedgerReader(build_index(path for ledger in ledgers for path in segment_paths(ledger)))
    batches = BatchTeacher(
        teacher,
        api_key=api_keys[teacher.api_key_env],
        folder=run_dir / _FOLDER,
        ledger_folder=ledgers[0],
        reader=reader,
        budget_usd=options.budget_usd,
        spent_usd=bought.chat_usd(teacher),
    )
    try:
        yield batches
    finally:
        batches.close()
        reader.close()


def buy_in_batches(batches: BatchTeacher, plan: pa.Table, prompts: Prompts, options: BuildOptions) -> None:
    """Bring all replies that a round asks for into the ledger. Raises `TeacherStoppedError`."""
    questioner, solver = Questioner(prompts, options), Solver(prompts, options)
    batches.buy(lambda: known_requests(plan, questioner, solver, batches.outcomes))


def known_requests(
    plan: pa.Table, questioner: Questioner, solver: Solver, outcomes: KnownOutcomes
) -> Iterator[ChatRequest]:
    """Every first call of the plan, and the calls for the paths of all questions whose first call is settled."""
    for row in plan.to_pylist():
        request = questioner.request(row)
        replies: list[Outcome] = []
        if request is not None:
            yield request
            known = outcomes(request)
            replies = [outcome for outcome in known if outcome is not None]
            if len(replies) < len(known):
                continue
        for question in questioner.receive(row, replies):
            if (solve := solver.request(question)) is not None:
                yield solve
