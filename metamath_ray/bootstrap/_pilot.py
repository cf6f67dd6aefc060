"""A pilot: a few questions of each kind are asked of the real teacher, and correct the forecast of the rest."""

import asyncio
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist, fmean, stdev

from metamath_ray.bootstrap._build import BuildStoppedError, Inputs
from metamath_ray.bootstrap._forecast import Load, Tally
from metamath_ray.bootstrap._ledgers import open_ledgers, read_ledgers
from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.bootstrap._pipeline import Questioner, Row, Solver, plan_table
from metamath_ray.bootstrap._plan import Cell, Planner, Unit
from metamath_ray.teacher import (
    Completion,
    Counters,
    Fault,
    Governor,
    LedgerReader,
    LocalGovernor,
    TeacherOptions,
    TeacherWorker,
    build_index,
    claim_ledger,
    segment_paths,
    sum_usage,
)

_Z_95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class PilotQuestion:
    """One question that was asked: what the forecast says of it, and what it took."""

    cell: Cell
    expected: Load
    taken: Load


@dataclass(frozen=True, slots=True)
class Pilot:
    """The questions asked; the seconds of each call that was made for them, and what these were billed."""

    questions: tuple[PilotQuestion, ...]
    seconds: tuple[float, ...]
    counters: Counters


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the interval that holds the true one 95 times in 100."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RestEstimate:
    """What the rest of a round takes."""

    requests: Estimate
    prompt_tokens: Estimate
    completion_tokens: Estimate
    usd: Estimate
    seconds_a_call: Estimate

    def minutes(self, teacher: TeacherOptions) -> Estimate:
        """Minutes at least, of single calls under the teacher's limits; all low or all high ends together."""
        return Estimate(*(self._minutes(teacher, end) for end in ("value", "low", "high")))

    def _minutes(self, teacher: TeacherOptions, end: str) -> float:
        requests, prompt, completion, seconds = (
            getattr(figure, end)
            for figure in (self.requests, self.prompt_tokens, self.completion_tokens, self.seconds_a_call)
        )
        load = Load(round(requests), 0, round(prompt), round(completion))
        return load.minutes(teacher, seconds_a_call=seconds)


def ask_pilot(inputs: Inputs, run_dir: Path) -> Pilot:
    """Ask `options.pilot` questions of each cell, drawn by chance from its first round; replies go to the ledger.

    Always by single calls, and within the budget: raises `BuildStoppedError` where that or the teacher end it, and
    `LedgerInUseError` as a build does. What the ledgers hold is not asked again.
    """
    options = inputs.options
    planned = _draw(Planner(inputs.seeds.problems, options).next_round({}), options)
    rows = plan_table(
        inputs.seeds.problems,
        [(unit.seed_index, cell[1], [unit]) for cell, units in planned.items() for unit in units],
    ).to_pylist()
    questioner, solver = Questioner(inputs.prompts, options), Solver(inputs.prompts, options)
    ledgers = open_ledgers(options, run_dir / "ledger")
    with claim_ledger(ledgers[0]):
        own = [path for path in segment_paths(ledgers[0]) if not path.name.startswith("imported-")]
        teacher = options.teacher.model_copy(update={"interface": "chat"})
        governor = Governor(teacher, options.budget_usd, sum_usage(own).usd(teacher))
        meter = _Stopwatch()

        def open_worker() -> TeacherWorker:
            return TeacherWorker(
                teacher,
                governor=LocalGovernor(governor),
                index=build_index(path for ledger in ledgers for path in segment_paths(ledger)),
                ledger_folder=ledgers[0],
                api_keys=inputs.api_keys,
                meter=meter,
            )

        asyncio.run(_ask_all(open_worker, rows, questioner, solver))
    if (stop := governor.status().stop) is not None:
        raise BuildStoppedError(f"{stop}; run the same command again to go on")
    with read_ledgers(options) as ledger:
        found = [_measure(row, questioner, solver, teacher, ledger) for row in rows]
    return Pilot(tuple(found), tuple(meter.seconds), governor.status().counters)


def estimate_rest(left: Mapping[Cell, Load], pilot: Pilot, teacher: TeacherOptions) -> RestEstimate:
    """What is left takes as much more or less than forecast as the pilot's questions did, cell by cell.

    A ratio estimate with Student's interval; it allows for the chance of the draw and for that of the rest.
    """

    def estimate(figure: Callable[[Load], float]) -> Estimate:
        return _estimate_sum(
            [
                (
                    [(figure(q.expected), figure(q.taken)) for q in pilot.questions if q.cell == cell],
                    figure(load),
                )
                for cell, load in left.items()
                if load.samples
            ]
        )

    return RestEstimate(
        requests=estimate(lambda load: load.requests),
        prompt_tokens=estimate(lambda load: load.prompt_tokens),
        completion_tokens=estimate(lambda load: load.completion_tokens),
        usd=estimate(lambda load: load.usd(teacher)),
        seconds_a_call=_estimate_mean(pilot.seconds),
    )


def _draw(planned: Mapping[Cell, Sequence[Unit]], options: BuildOptions) -> dict[Cell, list[Unit]]:
    chance = random.Random(options.seed)
    return {
        cell: chance.sample(units, min(options.pilot or 0, len(units))) for cell, units in planned.items()
    }


async def _ask_all(
    open_worker: Callable[[], TeacherWorker], rows: Sequence[Row], questioner: Questioner, solver: Solver
) -> None:
    worker = open_worker()

    async def ask(row: Row) -> None:
        request = questioner.request(row)
        outcomes = await worker.ask(request) if request is not None else []
        for question in questioner.receive(row, outcomes):
            if (request := solver.request(question)) is not None:
                await worker.ask(request)

    try:
        await asyncio.gather(*(ask(row) for row in rows))
        await worker.report()
    finally:
        await worker.close()


def _measure(
    row: Row, questioner: Questioner, solver: Solver, teacher: TeacherOptions, ledger: LedgerReader
) -> PilotQuestion:
    nothing = LedgerReader(build_index([]))
    before, after = Tally(teacher, nothing), Tally(teacher, ledger)
    for tally in (before, after):
        tally.ask_all(row, questioner, solver)
    return PilotQuestion((row["source"], row["augmentation"]), before.planned, after.taken)


@dataclass
class _Stopwatch:
    """The seconds of each call that was answered."""

    seconds: list[float] = field(default_factory=list)

    def call(self, endpoint: str, answer: Completion | Fault | None, seconds: float) -> None:
        if isinstance(answer, Completion):
            self.seconds.append(seconds)


def _estimate_sum(cells: Sequence[tuple[list[tuple[float, float]], float]]) -> Estimate:
    """The sum over cells of what is left of each; a cell is its questions, expected and taken, and what is left."""
    total = spread = 0.0
    degrees = 0
    for questions, left in cells:
        expected = sum(one for one, _ in questions)
        if not expected or not left:
            continue
        ratio = sum(taken for _, taken in questions) / expected
        total += ratio * left
        num, num_left = len(questions), left / (expected / len(questions))
        if num > 1:
            of_one = sum((taken - ratio * one) ** 2 for one, taken in questions) / (num - 1)
            spread += of_one * (num_left**2 / num + num_left)
            degrees += num - 1
    half = _student_95(degrees) * math.sqrt(spread)
    return Estimate(total, max(0.0, total - half), total + half)


def _estimate_mean(values: Sequence[float]) -> Estimate:
    if len(values) < 2:
        mean = fmean(values) if values else 0.0
        return Estimate(mean, mean, mean)
    half = _student_95(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Estimate(fmean(values), max(0.0, fmean(values) - half), fmean(values) + half)


def _student_95(degrees: int) -> float:
    """The 97.5 % point of Student's t (Cornish and Fisher's expansion; exact to 1 % from three degrees on)."""
    z, n = _Z_95, max(degrees, 1)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3
