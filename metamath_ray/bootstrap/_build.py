"""The build, from seeds to training rows: rounds of teacher calls, selection, export.

seeds ─► plan a round ─► pipeline (Ray Data, ledger) ─► candidates ─► enough? ─► selection ─► export
             ▲                                                        │ no
             └────────────────────────────────────────────────────────┘
"""

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from metamath_ray.bootstrap._batched import buy_in_batches, open_batches
from metamath_ray.bootstrap._candidates import CANDIDATE_SCHEMA
from metamath_ray.bootstrap._contamination import ContaminationIndex
from metamath_ray.bootstrap._export import (
    accepted_candidates,
    read_candidates,
    selection_rules,
    write_candidates,
    write_dataset,
)
from metamath_ray.bootstrap._ledgers import check_ledgers, open_ledgers
from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.bootstrap._pipeline import plan_table, run_round
from metamath_ray.bootstrap._plan import Cell, CellYield, Planner, group_by_seed
from metamath_ray.bootstrap._prompts import Prompts, load_prompts
from metamath_ray.bootstrap._seeds import Seeds, load_seeds
from metamath_ray.bootstrap._selection import Survivors, find_survivors, sample_rows
from metamath_ray.bootstrap._summary import Result, write_summary
from metamath_ray.bootstrap._timeline import record_timeline
from metamath_ray.bootstrap._yields import count_yields
from metamath_ray.problems import load_problems
from metamath_ray.released import released_type
from metamath_ray.teacher import (
    ApiKeys,
    BatchStatus,
    BatchTeacher,
    Counters,
    GovernorStatus,
    RayGovernor,
    StageSetup,
    TeacherStoppedError,
    Usage,
    build_index,
    claim_ledger,
    read_api_keys,
    segment_paths,
    start_governor,
    sum_usage,
)

logger = logging.getLogger(__name__)


class BuildStoppedError(Exception):
    """The build was stopped by its budget or its teacher; what it has paid for is in its ledger."""


@dataclass(frozen=True)
class Inputs:
    """Everything a build reads before it starts; loading it changes and sends nothing."""

    options: BuildOptions
    seeds: Seeds
    prompts: Prompts
    contamination: ContaminationIndex | None
    api_keys: ApiKeys


def load_inputs(options: BuildOptions) -> Inputs:
    """Load and check seeds, prompts, benchmarks and key.

    Raises ValueError or OSError, in one line, for what the user has to mend.
    """
    seeds = load_seeds(options)
    _check_targets(options, seeds)
    check_ledgers(options)
    benchmarks = {spec: load_problems(spec, split="test").problems for spec in options.decontaminate}
    questions = {name: [problem.question for problem in rows] for name, rows in benchmarks.items()}
    contamination = ContaminationIndex.from_questions(questions) if questions else None
    return Inputs(
        options, seeds, load_prompts(options.prompts), contamination, read_api_keys(options.teacher)
    )


def _check_targets(options: BuildOptions, seeds: Seeds) -> None:
    sources = sorted({problem.source for problem in seeds.problems})
    named = options.target_rows()
    if isinstance(options.targets, dict):
        for source, augmentation in named:
            if source not in sources:
                raise ValueError(
                    f"targets.{source} names no source of the seeds; they are: {', '.join(sources)}"
                )
            if augmentation not in options.augmentations:
                raise ValueError(f"targets.{source}.{augmentation} is left out by --augmentations")
    elif named and not any(source in sources for source, _ in named):
        raise ValueError(f"targets paper are for gsm8k and math; the seeds are: {', '.join(sources)}")
    taken: dict[str, str] = {}
    for source in sources:
        name = released_type(source, "fobar")
        if (other := taken.setdefault(name, source)) != source:
            raise ValueError(
                f"seeds {source} and {other} would share the types of {name}; name one otherwise"
            )


class Build:
    """A build in progress; `run` does it, `status` may be asked from another thread meanwhile."""

    def __init__(self, inputs: Inputs, folder: Path) -> None:
        self._inputs = inputs
        self._options = inputs.options
        self._rules = selection_rules(inputs.options, inputs.contamination)
        self._folder = folder
        self._governor: RayGovernor | None = None
        self._batches: BatchTeacher | None = None
        self.num_planned = 0

    def status(self) -> GovernorStatus | None:
        """The teacher's counters so far; None before the first round."""
        governor = self._governor
        return governor.status() if governor is not None else None

    def batch_status(self) -> BatchStatus | None:
        """The batches in flight; None where nothing is in flight or the teacher is asked otherwise."""
        batches = self._batches
        return batches.status if batches is not None and batches.status.states else None

    def run(self) -> Path:
        """Build the dataset in the run directory; gives the path of `summary.json`.

        Needs a connected Ray. Raises `BuildStoppedError` where budget or teacher end the run early,
        `LedgerInUseError` and `LedgerDamagedError` as their texts say.
        """
        started = time.monotonic()
        folder, seeds = self._folder, self._inputs.seeds
        planner = Planner(seeds.problems, self._options)
        ledgers = open_ledgers(self._options, folder / "ledger")
        with claim_ledger(ledgers[0]):
            bought = self._bought_before(folder)
            with self._governed(folder, bought) as governor, self._batched(folder, ledgers, bought):
                table, survivors, yields = self._run_rounds(folder, ledgers, planner)
                counters = self._counters(governor)
        selection = sample_rows(survivors, self._rules)
        write_candidates(table, folder / "candidates")
        return write_summary(
            folder,
            Result(
                options=self._options,
                seeds=seeds,
                counters=counters,
                bought=sum_usage(segment_paths(ledgers[0])),
                table=table,
                selection=selection,
                yields=yields,
                uniform_paths=planner.uniform_paths(yields),
                num_rounds=planner.num_rounds,
                hit_round_limit=planner.hit_round_limit,
                dataset_sha256=write_dataset(selection.rows, folder),
                seconds=time.monotonic() - started,
            ),
        )

    def _run_rounds(
        self, folder: Path, ledgers: Sequence[Path], planner: Planner
    ) -> tuple[pa.Table, Survivors, Mapping[Cell, CellYield]]:
        work = folder / ".rounds"
        shutil.rmtree(work, ignore_errors=True)  # the ledger has it all: a round is planned and run again
        table = CANDIDATE_SCHEMA.empty_table()
        survivors = self._survivors(table)
        yields: Mapping[Cell, CellYield] = {}
        while planned := planner.next_round(yields):
            plan = plan_table(self._inputs.seeds.problems, group_by_seed(planned))
            self.num_planned += sum(unit.num_samples for units in planned.values() for unit in units)
            self._run_one_round(plan, work / f"{planner.num_rounds - 1:03d}", ledgers)
            table = read_candidates(work)
            self._stop_if_told(table)
            survivors = self._survivors(table)
            yields = count_yields(
                table, survivors, self._inputs.seeds.problems, self._options.samples_per_question
            )
        shutil.rmtree(work, ignore_errors=True)
        return table, survivors, yields

    def _run_one_round(self, plan: pa.Table, folder: Path, ledgers: Sequence[Path]) -> None:
        import ray

        if self._batches is not None:  # all that the round asks for is in the ledger before it begins
            buy_in_batches(self._batches, plan, self._inputs.prompts, self._options)
        index = build_index(segment for ledger in ledgers for segment in segment_paths(ledger))
        logger.info("round %s: %d seed rows, %d stored replies", folder.name, plan.num_rows, len(index))
        assert self._governor is not None
        teacher = self._options.teacher
        setup = StageSetup(
            options=teacher if self._batches is None else teacher.without_endpoint,
            governor=self._governor,
            index=ray.put(index),
            ledger_folder=str(ledgers[0]),
            api_keys=self._inputs.api_keys,
            failures=self._batches.failures if self._batches is not None else {},
        )
        run_round(plan, setup=setup, prompts=self._inputs.prompts, options=self._options, folder=folder)

    def _counters(self, governor: RayGovernor) -> Counters:
        """What this run has done; a round finds in the ledger what the batches before it have just bought."""
        counters, batches = governor.status().counters, self._batches
        if batches is None:
            return counters
        return counters.plus(batches.counters).minus(Counters(calls_reused=batches.num_bought))

    def _stop_if_told(self, table: pa.Table) -> None:
        status = self.status()
        if status is not None and status.stop is not None:
            raise BuildStoppedError(f"{status.stop}; run the same command again to go on")
        failures = table.column("failure").to_pylist()
        if missing := failures.count("not_recorded"):
            raise BuildStoppedError(
                f"{missing} questions or paths have no reply in the ledger; give a teacher with --teacher.base-url"
            )

    def _survivors(self, table: pa.Table) -> Survivors:
        """What may become a row: the next round is planned by it, and the rows are drawn from the last round's."""
        accepted = accepted_candidates(table, self._inputs.seeds.problems, self._options)
        return find_survivors(accepted, self._rules)

    def _bought_before(self, folder: Path) -> Usage:
        """What counts against the budget, if there is one; imported replies were paid for elsewhere."""
        paths = segment_paths(folder / "ledger") if self._options.budget_usd is not None else []
        return sum_usage(path for path in paths if not path.name.startswith("imported-"))

    @contextmanager
    def _batched(self, folder: Path, ledgers: Sequence[Path], bought: Usage) -> Iterator[None]:
        try:
            with open_batches(self._options, self._inputs.api_keys, folder, ledgers, bought) as self._batches:
                yield
        except TeacherStoppedError as error:
            raise BuildStoppedError(f"{error}; run the same command again to go on") from None
        finally:
            self._batches = None

    @contextmanager
    def _governed(self, folder: Path, bought: Usage) -> Iterator[RayGovernor]:
        run_id = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
        self._governor = start_governor(
            self._options.teacher,
            run_id=run_id,
            budget_usd=self._options.budget_usd,
            spent_usd=bought.usd(self._options.teacher),
            memory=(folder / ".governor.json").resolve(),
        )
        try:
            with record_timeline(folder / "timeline.jsonl", self._governor.status):
                yield self._governor
        finally:
            governor, self._governor = self._governor, None
            governor.close()
