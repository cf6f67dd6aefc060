"""A teacher that knows the stories: answers a build's real requests over HTTP, some of them wrongly.

    python tests/benchmarks/ablation/story_teacher.py SEED NUM_SEEDS WRONG_SHARE

serves until SIGTERM; its first line on stdout is its base URL. It knows the first NUM_SEEDS problems of SEED: it solves
them forwards and backwards in several manners, tells them in another wording, and turns their questions into statements.
"""

import asyncio
import itertools
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from aiohttp import web  # noqa: E402
from stories import StoryProblem, draw_problems  # noqa: E402
from teacher_double import DoubleOptions, TeacherDouble  # noqa: E402

from metamath_ray.bootstrap import find_masks  # noqa: E402
from metamath_ray.bootstrap._augmentations import (  # noqa: E402
    declarative_request,
    fobar_question,
    masks_for_self_verification,
    self_verification_question,
)

MODEL = "story-teacher"
_OPERATIONS = {"+": "Add", "-": "Subtract", "*": "Multiply", "/": "Divide"}
_IN_OTHER_WORDS = "in other words"


def backward_questions(problem: StoryProblem) -> Iterator[tuple[str, str, str]]:
    """The kind (fobar or sv), the text and the masked number's letter of every backward question of a problem."""
    question, answer = problem.question(), str(problem.answer)
    masks = find_masks(question, style="gsm")
    slots = {str(number): slot for slot, number in problem.numbers.items()}
    for mask in masks:
        yield "fobar", fobar_question(question, mask, answer), slots[mask.value]
    for mask in masks_for_self_verification(question, masks, style="gsm"):
        text = self_verification_question(question, mask, problem.statement(), style="gsm")
        yield "sv", text, slots[mask.value]


class StoryTeacher(TeacherDouble):
    """The double with a mind: of every reply, `wrong_share` are wrong."""

    def __init__(self, problems: Sequence[StoryProblem], *, wrong_share: float) -> None:
        super().__init__(DoubleOptions(models=[MODEL]))
        self._wrong_share = wrong_share
        self._forward: dict[str, StoryProblem] = {}
        self._backward: dict[str, tuple[StoryProblem, str]] = {}
        self._statements: dict[str, str] = {}
        for problem in problems:
            request = declarative_request(problem.question(), str(problem.answer), style="gsm")
            self._statements[request] = problem.statement()
            for wording in range(len(problem.story.wordings)):
                self._forward[problem.question(wording)] = problem
            for _, text, slot in backward_questions(problem):
                self._backward[text] = problem, slot

    def _text(self, messages: Sequence[Any], digest: str) -> str:
        chance = random.Random(f"{digest}/{self.stats.samples_given[digest]}")
        self.stats.samples_given[digest] += 1
        return self.reply(messages, chance)

    def reply(self, messages: Sequence[Any], chance: random.Random) -> str:
        """A statement, another wording or a solution, as the prompt asks; a question that it does not know is 0."""
        text, is_wrong = messages[-1]["content"].strip(), chance.random() < self._wrong_share
        if text in self._statements:
            return "Nobody can tell." if is_wrong else self._statements[text]
        if _IN_OTHER_WORDS in messages[0]["content"]:
            return _rephrase(self._forward[text], text, chance, is_wrong=is_wrong)
        if text in self._forward:
            problem = self._forward[text]
            lines, answer = _solve(problem, chance), problem.answer
        elif text in self._backward:
            problem, slot = self._backward[text]
            lines, answer = _solve_back(problem.way_back(slot), chance), problem.numbers[slot]
        else:  # a rephrasing that lost a number
            lines, answer = ["This can't be told."], 0
        return _finish(lines, answer, chance, is_wrong=is_wrong)


def _rephrase(problem: StoryProblem, text: str, chance: random.Random, *, is_wrong: bool) -> str:
    others = [problem.question(place) for place in range(len(problem.story.wordings))]
    other = chance.choice([one for one in others if one != text])
    lost = str(problem.numbers["a"])
    return other.replace(lost, "some") if is_wrong else other


def _solve(problem: StoryProblem, chance: random.Random) -> list[str]:
    steps = problem.calculations()
    manner = chance.randrange(3)
    if manner == 0:
        return problem.told_steps(steps).split("\n")
    if manner == 1:
        return [f"{step}." for step in steps]
    return [f"{_OPERATIONS[step.split()[1]]} the numbers: {step}." for step in steps]


def _solve_back(lines: Sequence[str], chance: random.Random) -> list[str]:
    opening = chance.choice(["", "The equation is ", "Call the missing number x: "])
    return [f"{opening if place == 0 else ''}{line}." for place, line in enumerate(lines)]


def _finish(lines: list[str], answer: int, chance: random.Random, *, is_wrong: bool) -> str:
    if is_wrong:
        wrong = answer + chance.randint(1, 9)
        head, found, tail = lines[-1].rpartition(f"= {answer}")
        lines, answer = [*lines[:-1], f"{head}= {wrong}{tail}" if found else lines[-1]], wrong
    return "\n".join([*lines, f"#### {answer}", f"The answer is: {answer}"])


@asynccontextmanager
async def serve(teacher: StoryTeacher) -> AsyncIterator[StoryTeacher]:
    """The teacher on loopback; `base_url` says where."""
    runner = web.AppRunner(teacher.app(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        teacher.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield teacher
    finally:
        await runner.cleanup()


async def main(seed: str, num_seeds: int, wrong_share: float) -> None:
    """Serve until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    problems = list(itertools.islice(draw_problems(seed), num_seeds))
    async with serve(StoryTeacher(problems, wrong_share=wrong_share)) as teacher:
        print(teacher.base_url, flush=True)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
