"""The build, from seeds to training rows: rounds of teacher calls, selection, export.

seeds ─► plan a round ─► pipeline (Ray Data, ledger) ─► candidates ─► enough? ─► selection ─► export
             ▲                                                        │ no
             └────────────────────────────────────────────────────────┘
"""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from metamath_ray.bootstrap._candidates import CANDIDATE_SCHEMA
from metamath_ray.bootstrap._contamination import ContaminationIndex
from metamath_ray.bootstrap._export import (
    accepted_candidates,
    read_candidates,
    released_type,
    selection_rules,
    write_candidates,
    write_dataset,
)
from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.bootstrap._pipeline import plan_table, run_round
from metamath_ray.bootstrap._plan import Cell, CellYield, Planner, group_by_seed
from metamath_ray.bootstrap._prompts import Prompts, load_prompts
from metamath_ray.bootstrap._seeds import Seeds, load_seeds
from metamath_ray.bootstrap._selection import SelectionRules, select_rows
from metamath_ray.bootstrap._summary import Result, write_summary
from metamath_ray.problems import load_problems
from metamath_ray.teacher import (
    ApiKey,
    GovernorStatus,
    RayGovernor,
    StageSetup,
    TeacherOptions,
    build_index,
    import_ledger,
    segment_paths,
    start_governor,
    sum_usage,
)

logger = logging.getLogger(__name__)

BUNDLED_LEDGER = "bundled_ledger.jsonl.xz"


class BuildStoppedError(Exception):
    """The build was stopped by its budget or its teacher; what it has paid for is in its ledger."""


@dataclass(frozen=True)
class Inputs:
    """Everything a build reads before it starts; loading it changes and sends nothing."""

    options: BuildOptions
    seeds: Seeds
    prompts: Prompts
    contamination: ContaminationIndex | None
    api_key: ApiKey


def load_inputs(options: BuildOptions) -> Inputs:
    """Load and check seeds, prompts, benchmarks and key.

    Raises ValueError or OSError, in one line, for what the user has to mend.
    """
    seeds = load_seeds(options)
    _check_targets(options, seeds)
    _check_ledgers(options)
    benchmarks = {spec: load_problems(spec, split="test").problems for spec in options.decontaminate}
    questions = {name: [problem.question for problem in rows] for name, rows in benchmarks.items()}
    contamination = ContaminationIndex.from_questions(questions) if questions else None
    key = os.environ.get(options.teacher.api_key_env, "")
    return Inputs(options, seeds, load_prompts(options.prompts), contamination, ApiKey(key or "none"))


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


def _check_ledgers(options: BuildOptions) -> None:
    for path in options.ledger:
        if not path.exists():
            raise ValueError(f"--ledger {path}: there is no such file or folder")
        if path.is_dir() and not segment_paths(path):
            hint = f", did you mean {path / 'ledger'}?" if segment_paths(path / "ledger") else ""
            raise ValueError(f"--ledger {path} holds no ledger segment{hint}")


class Build:
    """A build in progress; `run` does it, `status` may be asked from another thread meanwhile."""

    def __init__(self, inputs: Inputs, folder: Path) -> None:
        self._inputs = inputs
        self._options = inputs.options
        self._folder = folder
        self._governor: RayGovernor | None = None
        self.num_planned = 0

    def status(self) -> GovernorStatus | None:
        """The teacher's counters so far; None before the first round."""
        governor = self._governor
        return governor.status() if governor is not None else None

    def run(self) -> Path:
        """Build the dataset in the run directory; gives the path of `summary.json`.

        Needs a connected Ray. Raises `BuildStoppedError` where budget or teacher end the run early, and
        `LedgerDamagedError` as its text says.
        """
        started = time.monotonic()
        folder, seeds = self._folder, self._inputs.seeds
        ledgers = self._ledgers(folder)
        with self._governed(folder) as governor:
            table, num_rounds = self._run_rounds(folder, ledgers)
            counters = governor.status().counters
        accepted = accepted_candidates(table, seeds.problems, self._options)
        selection = select_rows(accepted, self._rules(capped=True))
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
                num_rounds=num_rounds,
                dataset_sha256=write_dataset(selection.rows, folder),
                seconds=time.monotonic() - started,
            ),
        )

    def _run_rounds(self, folder: Path, ledgers: Sequence[Path]) -> tuple[pa.Table, int]:
        planner = Planner(self._inputs.seeds.problems, self._options)
        work = folder / ".rounds"
        shutil.rmtree(work, ignore_errors=True)  # the ledger has it all: a round is planned and run again
        table, num_rounds = CANDIDATE_SCHEMA.empty_table(), 0
        while planned := planner.next_round(self._yields(table)):
            plan = plan_table(self._inputs.seeds.problems, group_by_seed(planned))
            self.num_planned += sum(unit.num_samples for units in planned.values() for unit in units)
            self._run_one_round(plan, work / f"{num_rounds:03d}", ledgers)
            num_rounds += 1
            table = read_candidates(work)
            self._stop_if_told(table)
        shutil.rmtree(work, ignore_errors=True)
        return table, num_rounds

    def _run_one_round(self, plan: pa.Table, folder: Path, ledgers: Sequence[Path]) -> None:
        import ray

        index = build_index(segment for ledger in ledgers for segment in segment_paths(ledger))
        logger.info("round %s: %d seed rows, %d stored replies", folder.name, plan.num_rows, len(index))
        assert self._governor is not None
        setup = StageSetup(
            options=self._options.teacher,
            governor=self._governor,
            index=ray.put(index),
            ledger_folder=str(ledgers[0]),
            api_key=self._inputs.api_key,
        )
        run_round(plan, setup=setup, prompts=self._inputs.prompts, options=self._options, folder=folder)

    def _stop_if_told(self, table: pa.Table) -> None:
        status = self.status()
        if status is not None and status.stop is not None:
            raise BuildStoppedError(f"{status.stop}; run the same command again to go on")
        failures = table.column("failure").to_pylist()
        if missing := failures.count("not_recorded"):
            raise BuildStoppedError(
                f"{missing} questions or paths have no reply in the ledger; give a teacher with --teacher.base-url"
            )

    def _yields(self, table: pa.Table) -> dict[Cell, CellYield]:
        if not self._options.target_rows():
            return {}
        accepted = accepted_candidates(table, self._inputs.seeds.problems, self._options)
        selection = select_rows(
            accepted, selection_rules(self._options, self._inputs.contamination, capped=False)
        )
        yields: dict[Cell, CellYield] = {}
        unusable = pc.equal(table.column("question"), "").to_pylist()
        cells: Any = zip(
            table.column("source").to_pylist(), table.column("augmentation").to_pylist(), strict=True
        )
        for cell, no_question in zip(cells, unusable, strict=True):
            got = yields.get(cell, CellYield())
            paths = self._options.samples_per_question if no_question else 1
            yields[cell] = CellYield(got.paths + paths, got.rows)
        for row in selection.rows:
            kept: Any = (row.source, row.augmentation)
            yields[kept] = CellYield(yields[kept].paths, yields[kept].rows + 1)
        return yields

    def _rules(self, *, capped: bool) -> SelectionRules:
        return selection_rules(self._options, self._inputs.contamination, capped=capped)

    def _ledgers(self, folder: Path) -> list[Path]:
        """The run's own ledger first, then those that it may read."""
        own = folder / "ledger"
        own.mkdir(exist_ok=True)
        ledgers = [own]
        bundled = any(spec.partition(":")[0] == "bundled" for spec in self._options.seeds)
        if bundled and self._options.teacher.model == TeacherOptions().model:  # whose replies they are
            with as_file(files("metamath_ray.bootstrap") / BUNDLED_LEDGER) as path:
                _import(path, own)
        for other in self._options.ledger:
            if other.is_dir():
                ledgers.append(other.resolve())
            else:
                _import(other, own)
        return ledgers

    @contextmanager
    def _governed(self, folder: Path) -> Iterator[RayGovernor]:
        run_id = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
        spent_usd = 0.0
        if self._options.budget_usd is not None:  # imported replies were paid for elsewhere
            own = [path for path in segment_paths(folder / "ledger") if not path.name.startswith("imported-")]
            usage = sum_usage(own)
            spent_usd = self._options.teacher.usd(
                prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens
            )
        self._governor = start_governor(
            self._options.teacher,
            run_id=run_id,
            budget_usd=self._options.budget_usd,
            spent_usd=spent_usd,
            memory=(folder / ".governor.json").resolve(),
        )
        try:
            yield self._governor
        finally:
            governor, self._governor = self._governor, None
            governor.close()


def _import(exported: Path, ledger: Path) -> None:
    digest = hashlib.sha256(exported.read_bytes()).hexdigest()[:12]
    import_ledger(exported, ledger, name=f"imported-{digest}")
