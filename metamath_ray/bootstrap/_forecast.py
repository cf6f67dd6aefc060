"""What a build is expected to ask, cost and take, before anything is sent."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.bootstrap._plan import Cell, Planner, Unit, group_by_seed
from metamath_ray.bootstrap._prompts import Prompts
from metamath_ray.bootstrap._questions import SOLVE_STEP, first_call
from metamath_ray.problems import Problem
from metamath_ray.teacher import Message

CHARS_A_TOKEN = 3.5
"""Characters a token, for English with figures; the estimate says so wherever it is shown."""

_COMPLETION_TOKENS = {"gsm": 100, "math": 180}
_FIRST_CALL_TOKENS = 40
_SECONDS_A_CALL = 5.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """Requests, tokens, US dollars and minutes of a build's first round; estimates, not limits."""

    requests: int
    paths: int
    prompt_tokens: int
    completion_tokens: int
    usd: float
    minutes: float


def forecast_build(seeds: Sequence[Problem], prompts: Prompts, options: BuildOptions) -> Forecast:
    """The first round's forecast; with targets, later rounds ask for what is still missing."""
    planned = Planner(seeds, options).next_round({})
    requests = prompt_tokens = completion_tokens = 0
    for calls, prompt, completion in _calls(seeds, prompts, options, planned):
        requests += calls
        prompt_tokens += prompt
        completion_tokens += completion
    teacher = options.teacher
    minutes = [
        requests * _SECONDS_A_CALL / teacher.max_in_flight / 60,
        requests / teacher.rpm if teacher.rpm else 0.0,
        (prompt_tokens + completion_tokens) / teacher.tpm if teacher.tpm else 0.0,
    ]
    return Forecast(
        requests=requests,
        paths=sum(unit.num_samples for units in planned.values() for unit in units),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        usd=teacher.usd(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens),
        minutes=max(minutes),
    )


def _calls(
    seeds: Sequence[Problem], prompts: Prompts, options: BuildOptions, planned: Mapping[Cell, Sequence[Unit]]
) -> Iterable[tuple[int, int, int]]:
    """Requests, prompt tokens and completion tokens of each seed and augmentation."""
    at_once = options.teacher.samples_per_request
    for seed_index, augmentation, units in group_by_seed(planned):
        seed = seeds[seed_index]
        first = first_call(seed, augmentation, [unit.variant for unit in units], compat=options.compat)
        if first is not None:
            calls = -(-first.num_samples // at_once)
            prompt = prompts.get(seed.style, first.step).messages(first.text, shots=options.shots)
            yield calls, calls * _tokens(prompt), first.num_samples * _FIRST_CALL_TOKENS
        solve = prompts.get(seed.style, SOLVE_STEP[augmentation]).messages(seed.question, shots=options.shots)
        for unit in units:
            calls = -(-unit.num_samples // at_once)
            yield calls, calls * _tokens(solve), unit.num_samples * _COMPLETION_TOKENS[seed.style]


def _tokens(messages: Iterable[Message]) -> int:
    return round(sum(len(message["content"]) for message in messages) / CHARS_A_TOKEN)
