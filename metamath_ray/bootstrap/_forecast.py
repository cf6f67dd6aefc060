"""What a build is expected to ask, cost and take, and how much of it the ledgers hold already."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.bootstrap._pipeline import Questioner, Row, Solver, plan_table
from metamath_ray.bootstrap._plan import Cell, Planner, group_by_seed
from metamath_ray.bootstrap._prompts import Prompts
from metamath_ray.problems import Problem
from metamath_ray.teacher import (
    ChatRequest,
    Failure,
    LedgerReader,
    Message,
    Outcome,
    Reply,
    TeacherOptions,
    request_keys,
)

CHARS_A_TOKEN = 3.5
"""Characters a token, for English with figures; the estimate says so wherever it is shown."""

_COMPLETION_TOKENS = {"gsm": 100, "math": 180}
_FIRST_CALL_TOKENS = 40
_SECONDS_A_CALL = 5.0


@dataclass(frozen=True, slots=True)
class Load:
    """Requests, their samples and tokens; tokens are estimated from characters."""

    requests: int = 0
    samples: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def plus(self, other: "Load") -> "Load":
        """The sum, field by field."""
        return Load(
            self.requests + other.requests,
            self.samples + other.samples,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def usd(self, teacher: TeacherOptions) -> float:
        """US dollars at the teacher's prices."""
        return teacher.usd(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            in_batch=teacher.interface == "batch",
        )

    def minutes(self, teacher: TeacherOptions, *, seconds_a_call: float = _SECONDS_A_CALL) -> float:
        """Minutes at least, of single calls under the teacher's limits."""
        return max(
            self.requests * seconds_a_call / teacher.total_in_flight / 60,
            self.requests / teacher.total_rpm if teacher.total_rpm else 0.0,
            (self.prompt_tokens + self.completion_tokens) / teacher.total_tpm if teacher.total_tpm else 0.0,
        )


@dataclass(frozen=True, slots=True)
class Forecast:
    """A build's first round: reasoning paths, what they ask in all, and what of that is still to be sent.

    Estimates, not limits. `left_by_cell` is `left` by source and augmentation, `stored` are the samples that the
    ledgers hold. A question whose wording is still to be asked for counts as unstored: what the ledger may hold on
    it can't be told.
    """

    paths: int
    planned: Load
    left: Load
    left_by_cell: Mapping[Cell, Load]

    @property
    def stored(self) -> int:
        """Samples planned that need not be sent."""
        return self.planned.samples - self.left.samples


def forecast_build(
    seeds: Sequence[Problem], prompts: Prompts, options: BuildOptions, ledger: LedgerReader
) -> Forecast:
    """The first round's forecast; with targets, later rounds ask for what is still missing.

    Replies in the ledger are followed: a stored rephrasing is the question that its paths are looked up by,
    and one that can't be used asks for none.
    """
    planned = Planner(seeds, options).next_round({})
    seen: set[bytes] = set()
    tallies: dict[Cell, Tally] = defaultdict(lambda: Tally(options.teacher, ledger, seen))
    questioner, solver = Questioner(prompts, options), Solver(prompts, options)
    for row in plan_table(seeds, group_by_seed(planned)).to_pylist():
        tallies[row["source"], row["augmentation"]].ask_all(row, questioner, solver)
    return Forecast(
        paths=sum(unit.num_samples for units in planned.values() for unit in units),
        planned=sum_loads(tally.planned for tally in tallies.values()),
        left=sum_loads(tally.left for tally in tallies.values()),
        left_by_cell={cell: tally.left for cell, tally in tallies.items()},
    )


def sum_loads(loads: Iterable[Load]) -> Load:
    """The sum, field by field."""
    total = Load()
    for load in loads:
        total = total.plus(load)
    return total


def _questions(questioner: Questioner, row: Row, outcomes: list[Outcome]) -> Iterator[Row]:
    """The plan row's questions; where a first reply is still to come, the seed's stands for one that needs it."""
    is_open = any(isinstance(outcome, Failure) for outcome in outcomes)
    for question in questioner.receive(row, outcomes):
        if is_open and (question["failure"] or row["augmentation"] == "self_verification"):
            stand_in = f"(wording of {question['question_id']} to come) {row['seed_question']}"
            question |= {"question": stand_in, "failure": ""}
        yield question


@dataclass
class Tally:
    """Looks requests up in the ledger and adds up what they take; a sample counts once, as it is sent once.

    `taken` is what the replies that are there were billed.
    """

    teacher: TeacherOptions
    ledger: LedgerReader
    _seen: set[bytes] = field(default_factory=set)
    planned: Load = Load()
    left: Load = Load()
    taken: Load = Load()

    def ask_all(self, row: Row, questioner: Questioner, solver: Solver) -> None:
        """The requests of a plan row: the first call, and those for the paths of its questions."""
        request = questioner.request(row)
        outcomes = self.ask(request, _FIRST_CALL_TOKENS) if request is not None else []
        for question in _questions(questioner, row, outcomes):
            if (request := solver.request(question)) is not None:
                self.ask(request, _COMPLETION_TOKENS[row["style"]])

    def ask(self, request: ChatRequest, tokens_a_sample: int) -> list[Outcome]:
        """What the ledger holds of the request; a `Failure` for each sample that it lacks."""
        keys = request_keys(request, self.teacher)
        outcomes = [self.ledger.get(key) or Failure(key, "not_recorded") for key in keys]
        new = [o for o, key in zip(outcomes, keys, strict=True) if bytes.fromhex(key) not in self._seen]
        self._seen.update(map(bytes.fromhex, keys))
        missing = sum(isinstance(outcome, Failure) for outcome in new)
        self.planned = self.planned.plus(self._load(request, len(new), tokens_a_sample))
        self.left = self.left.plus(self._load(request, missing, tokens_a_sample))
        replies = [outcome for outcome in new if isinstance(outcome, Reply)]
        self.taken = self.taken.plus(
            Load(
                requests=-(-len(replies) // self.teacher.samples_per_request),
                samples=len(replies),
                prompt_tokens=sum(reply.prompt_tokens for reply in replies),
                completion_tokens=sum(reply.completion_tokens for reply in replies),
            )
        )
        return outcomes

    def _load(self, request: ChatRequest, num_samples: int, tokens_a_sample: int) -> Load:
        calls = -(-num_samples // self.teacher.samples_per_request)
        return Load(calls, num_samples, calls * _tokens(request.messages), num_samples * tokens_a_sample)


def _tokens(messages: Iterable[Message]) -> int:
    return round(sum(len(message["content"]) for message in messages) / CHARS_A_TOKEN)
