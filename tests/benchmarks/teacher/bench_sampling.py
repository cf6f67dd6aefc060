"""Adaptive against uniform sampling: what an accepted row costs, by type, with one teacher and the same targets.

    python tests/benchmarks/teacher/bench_sampling.py [--seeds 200] [--scale 0.3 0.6 1] [--most 16]

The teacher is made up, and everything else is the build's own: plan, questions, grading, selection, yields. How often
it is right differs from question to question as in the bundled ledger (a Beta distribution a type, by the moments of
its 1,828 paths, two a question); half of a seed's questions are as hard as each other. Its right paths repeat each
other as often as there. A reply depends on its question and sample alone, so both rules buy from the same ledger.
`--scale` is a share of the paper's targets: 10.7 rows a seed for answers and rephrasings, 5.4 for SV and FOBAR.

Expected (200 seeds): where a type's questions are asked more than once, 5 to 12 % fewer samples a row and 6 to 29 %
fewer requests, as a request takes more samples of one question; where new questions are enough, nothing; and no
samples less where all were used up (`dry`). A build's own estimate of uniform sampling is up to 8 % too high here.
"""

import argparse
import random
from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa

from metamath_ray.bootstrap import BuildOptions, load_prompts
from metamath_ray.bootstrap._candidates import CANDIDATE_SCHEMA, grade_candidate
from metamath_ray.bootstrap._export import accepted_candidates, selection_rules
from metamath_ray.bootstrap._pipeline import Questioner, Row, Solver, plan_table
from metamath_ray.bootstrap._plan import Cell, CellYield, Planner, group_by_seed
from metamath_ray.bootstrap._selection import find_survivors
from metamath_ray.bootstrap._yields import count_yields
from metamath_ray.problems import Problem
from metamath_ray.released import released_type
from metamath_ray.teacher import ChatRequest, Outcome, Reply, request_keys

ROWS_A_SEED = {"answer_augmentation": 10.7, "rephrasing": 10.7, "self_verification": 5.4, "fobar": 5.4}


@dataclass(frozen=True)
class Difficulty:
    """Of a type's questions: right paths are Beta(right, wrong); a path repeats one of c known with c / (c + variety)."""

    right: float
    wrong: float
    variety: float


BUNDLED = {
    "answer_augmentation": Difficulty(0.41, 0.24, 7.7),
    "rephrasing": Difficulty(0.62, 0.46, 5.7),
    "self_verification": Difficulty(0.84, 1.86, 12.0),
    "fobar": Difficulty(0.63, 1.67, 6.0),
}
USABLE_REPHRASINGS = 0.52
WORDS = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "l", "m", "ck")]


@dataclass
class Ledger:
    """Every reply bought, and what it took: a sample is bought once, up to eight of a prompt in one request."""

    options: BuildOptions
    replies: dict[str, Reply] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    samples: Counter[str] = field(default_factory=Counter)
    usd: Counter[str] = field(default_factory=Counter)

    def ask(self, request: ChatRequest, kind: str, write) -> list[Outcome]:
        teacher = self.options.teacher
        keys = dict(zip(request_keys(request, teacher), request.samples, strict=True))
        missing = [key for key in keys if key not in self.replies]
        prompt_tokens = sum(len(message["content"]) for message in request.messages) * 2 // 7
        for start in range(0, len(missing), teacher.samples_per_request):
            bought = missing[start : start + teacher.samples_per_request]
            texts = [write(keys[key]) for key in bought]
            completion_tokens = sum(len(text) * 2 // 7 for text in texts)
            self.requests[kind] += 1
            self.samples[kind] += len(bought)
            self.usd[kind] += teacher.usd(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
            for key, text in zip(bought, texts, strict=True):
                self.replies[key] = Reply(key, text, "stop", 0, 0, "double", keys[key])
        return [self.replies[key] for key in keys]


def make_seeds(num_seeds: int) -> list[Problem]:
    """Problems of no meaning, with four numbers to mask."""
    seeds = []
    for number in range(num_seeds):
        chance = random.Random(f"seed {number}")
        a, b, c, d = chance.sample(range(3, 900), 4)
        n, v, w = (" ".join(chance.choices(WORDS, k=4)) for _ in range(3))
        text = f"Ana keeps {a} {n} and {b} {v}. Each of {c} boxes holds {d} {w}. How many {n} are there now?"
        seeds.append(Problem(f"s{number}", "gsm8k", "gsm", text, str(chance.randint(1000, 9999))))
    return seeds


def first_reply(row: Row, sample: int) -> str:
    """A rephrasing that keeps the numbers, or says sorry; or a statement."""
    chance = random.Random(f"{row['seed_id']} {row['augmentation']} {sample}")
    if row["augmentation"] == "self_verification":
        return f"The {chance.choice(WORDS)} that was asked for is {row['seed_answer']}."
    if chance.random() >= USABLE_REPHRASINGS:
        return "I'm sorry."
    numbers = [word.strip(".") for word in row["seed_question"].split() if word.strip(".").isdigit()]
    told = " ".join(f"{number} {' '.join(chance.choices(WORDS, k=5))}" for number in numbers)
    return f"There are {told}. How many {chance.choice(WORDS)} are left?"


class PathWriter:
    """Writes a question's reasoning paths: sample N of a question is the same text whoever asks."""

    def __init__(self) -> None:
        self._questions: dict[str, tuple[float, list[str]]] = {}

    def write(self, row: Row, sample: int) -> str:
        share, texts = self._questions.setdefault(row["question"], (_right_share(row), []))
        while len(texts) <= sample:
            texts.append(self._next(row, share, texts))
        return texts[sample]

    def _next(self, row: Row, share: float, texts: list[str]) -> str:
        chance = random.Random(f"{row['question']} {len(texts)}")
        known = [text for text in texts if text.endswith(f"is: {row['expected']}")]
        if chance.random() >= share:
            return _path(chance, "-1")
        variety = BUNDLED[row["augmentation"]].variety
        repeats = chance.random() * (variety + len(known)) < len(known)
        return chance.choice(known) if repeats else _path(chance, row["expected"])


def _right_share(row: Row) -> float:
    """How often the teacher is right: drawn for the question alone, or once for all such of its seed."""
    own, seed = (random.Random(f"{row['augmentation']} {name}") for name in (row["question"], row["seed_id"]))
    difficulty = BUNDLED[row["augmentation"]]
    drawn_from = own if own.random() < 0.5 else seed
    return drawn_from.betavariate(difficulty.right, difficulty.wrong)


def _path(chance: random.Random, answer: str) -> str:
    steps = [f"{' '.join(chance.choices(WORDS, k=12))} {chance.randint(2, 99)}." for _ in range(4)]
    return "\n".join([*steps, f"The answer is: {answer}"])


@dataclass(frozen=True)
class Built:
    """What one rule brought and took, by type; `expected`: what it says uniform sampling's paths a row would be."""

    rows: dict[str, int]
    bought: Ledger
    num_rounds: int
    expected: dict[str, float | None]


def build(options: BuildOptions, seeds: list[Problem]) -> Built:
    """The rounds of a build in this process, without Ray: its own plan, questions, verdicts and selection."""
    prompts, ledger, writer = load_prompts(), Ledger(options), PathWriter()
    questioner, solver, planner = (
        Questioner(prompts, options),
        Solver(prompts, options),
        Planner(seeds, options),
    )
    candidates: list[Row] = []
    yields: dict[Cell, CellYield] = {}
    while planned := planner.next_round(yields):
        for row in plan_table(seeds, group_by_seed(planned)).to_pylist():
            kind = released_type(row["source"], row["augmentation"])
            request = questioner.request(row)
            first = (
                ledger.ask(request, f"{kind} first", lambda n, row=row: first_reply(row, n))
                if request
                else []
            )
            for question in questioner.receive(row, first):
                request = solver.request(question)
                paths = ledger.ask(request, kind, lambda n, q=question: writer.write(q, n)) if request else []
                for path in solver.receive(question, paths):
                    style = path.pop("style")
                    candidates.append(grade_candidate(path, style=style, compat=options.compat))
        table = pa.Table.from_pylist(candidates, schema=CANDIDATE_SCHEMA)
        survivors = find_survivors(accepted_candidates(table, seeds, options), selection_rules(options, None))
        yields = count_yields(table, survivors, seeds, options.samples_per_question)
    rows = {released_type(*cell): got.rows for cell, got in yields.items()}
    expected = {
        released_type(*cell): paths / yields[cell].rows if paths else None
        for cell, paths in planner.uniform_paths(yields).items()
    }
    return Built(rows, ledger, planner.num_rounds, expected)


def compare(seeds: list[Problem], scale: float, most: int) -> None:
    """Build with both rules and print a line for each type."""
    targets = {name: round(rows * scale * len(seeds)) for name, rows in ROWS_A_SEED.items()}
    teacher = {"usd_per_million_prompt_tokens": 0.15, "usd_per_million_completion_tokens": 0.6}
    shared = {"targets": {"gsm8k": targets}, "max_samples_per_question": most, "teacher": teacher}
    uniform, adaptive = (
        build(BuildOptions(sampling=rule, **shared), seeds) for rule in ("uniform", "adaptive")
    )
    print(
        f"\n{len(seeds)} seeds, {scale:g} of the paper's targets, at most {most} samples a question; "
        f"{uniform.num_rounds} rounds uniform, {adaptive.num_rounds} adaptive\n"
        f"{'type':14}{'rows':>6}{'target':>7}   {'samples a row':^23}   {'requests a row':^23}   {'USD for 1,000 rows':^23}"
        "   uniform's paths a row: expected of measured"
    )
    for name, target in targets.items():
        kind = released_type("gsm8k", name)
        ratios = [_beside(uniform, adaptive, kind, what) for what in ("samples", "requests", "usd")]
        expected, paths = adaptive.expected[kind], uniform.bought.samples[kind] / uniform.rows[kind]
        note = f"{expected:.2f} of {paths:.2f}" if expected else f"dry of {paths:.2f}"
        is_dry = uniform.rows[kind] < target or adaptive.rows[kind] < target
        print(
            f"{kind:14}{adaptive.rows[kind]:6}{target:7}   {'   '.join(ratios)}   {note}{'  (dry)' if is_dry else ''}"
        )


def _beside(uniform: Built, adaptive: Built, kind: str, what: str) -> str:
    """Per row: uniform, adaptive, and the difference."""
    scale = 1000 if what == "usd" else 1
    before, after = (
        scale
        * (getattr(one.bought, what)[kind] + getattr(one.bought, what)[f"{kind} first"])
        / one.rows[kind]
        for one in (uniform, adaptive)
    )
    return f"{before:6.3f} → {after:6.3f} ({after / before - 1:+4.0%})"


def main() -> None:
    """Compare at each scale."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--scale", type=float, nargs="+", default=[0.3, 0.6, 1.0])
    parser.add_argument("--most", type=int, default=16)
    args = parser.parse_args()
    seeds = make_seeds(args.seeds)
    for scale in args.scale:
        compare(seeds, scale, args.most)


if __name__ == "__main__":
    main()
