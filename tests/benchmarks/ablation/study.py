"""The paper's Table 1 on a scale that two CPU cores can repeat: four ways of bootstrapping, five mixes, three seeds each.

    python tests/benchmarks/ablation/study.py --output runs/study

1. Problems: word problems written by a program (`stories.py`), of the bundled set's sort; no test problem has a training
   problem's story and numbers. Two test sets: forward, and backward (FOBAR and self-verification, by the build's own
   masking and wording).
2. Student: a Llama of a million weights, made here, that reads arithmetic and stories (`story_student.py`), worked ones
   in two of their four wordings alone.
3. Build: jobs/build_metamathqa.py asks a teacher over HTTP (`story_teacher.py`), which is wrong now and then.
4. Ablation: jobs/ablate_data_mix.py trains and tests a student for each mix and seed.

Ends with the path of the table. A run that was killed goes on: run the same command again. --fast is a trial of the steps.
"""

import argparse
import itertools
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stories import StoryProblem, draw_problems
from story_student import Reading, save_student
from story_teacher import MODEL, backward_questions

from metamath_ray.student_prompt import STUDENT_PROMPT

HERE = Path(__file__).resolve().parent
JOBS = HERE.parents[2] / "jobs"
SEED = "study"


@dataclass(frozen=True, slots=True)
class Size:
    """How large the study is."""

    train: int
    test: int
    seeds: int
    steps: int
    reading: Reading
    wrong_share: float = 0.2


FULL = Size(train=240, test=240, seeds=3, steps=450, reading=Reading())
FAST = Size(train=24, test=24, seeds=2, steps=3, reading=Reading(hidden=32, layers=2, steps=5))


def main() -> None:
    """Do the steps that are left."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("runs/study"))
    parser.add_argument("--fast", action="store_true", help="a few problems and steps: nothing is learnt")
    parser.add_argument("--concurrent-trials", type=int, default=2, help="trials at a time, a core each")
    arguments = parser.parse_args()
    size, output = FAST if arguments.fast else FULL, arguments.output.resolve()
    started = time.monotonic()
    train, test = draw_sets(size)
    write_problems(output / "problems", train, test)
    if not (output / "student" / "model.safetensors").is_file():
        save_student(output / "student", size.reading, seed=SEED, unseen=frozenset(one.key for one in test))
    with teacher(size) as base_url:
        run_job("build_metamathqa.py", build_options(output, base_url))
    run_job("ablate_data_mix.py", ablation_options(output, size, arguments.concurrent_trials))
    print(f"study: {time.monotonic() - started:.0f} s, {output / 'ablation' / 'table.md'}")


def draw_sets(size: Size) -> tuple[list[StoryProblem], list[StoryProblem]]:
    """Training and test problems, each story as often as another in both."""
    drawn = draw_problems(SEED)
    return list(itertools.islice(drawn, size.train)), list(itertools.islice(drawn, size.test))


def write_problems(folder: Path, train: list[StoryProblem], test: list[StoryProblem]) -> None:
    """`train.jsonl` and `forward.jsonl` in GSM8K's form, `backward.jsonl` with a question of every test problem."""
    folder.mkdir(parents=True, exist_ok=True)
    backward = [backward_row(problem, place) for place, problem in enumerate(test)]
    sets = {
        "train": [forward_row(one) for one in train],
        "forward": [forward_row(one) for one in test],
        "backward": backward,
    }
    for name, rows in sets.items():
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    # As it is trained: the paper adds "Let's think step by step.", which is new to so small a student.
    (folder / "prompt.txt").write_text(STUDENT_PROMPT.format(instruction="{question}"), encoding="utf-8")


def forward_row(problem: StoryProblem) -> dict[str, str]:
    """As GSM8K has it, calculator notes included."""
    steps = (one.split(" = ") for one in problem.calculations())
    noted = [f"{left} = <<{left}={result}>>{result}" for left, result in steps]
    return {"question": problem.question(), "answer": f"{problem.told_steps(noted)}\n#### {problem.answer}"}


def backward_row(problem: StoryProblem, place: int) -> dict[str, str]:
    """A backward question of the problem: of the kinds and numbers that it has, another from place to place."""
    questions = list(backward_questions(problem))
    kinds = sorted({kind for kind, _, _ in questions})
    chosen = [one for one in questions if one[0] == kinds[place % len(kinds)]]
    kind, text, slot = chosen[place // len(kinds) % len(chosen)]
    return {"id": f"story-{place}-{kind}", "question": text, "answer": str(problem.numbers[slot])}


def build_options(output: Path, base_url: str) -> list[str]:
    """Every wording and masked number of each seed problem, three reasoning paths each."""
    return [
        "--seeds", f"stories:{output / 'problems' / 'train.jsonl'}", "--run-dir", str(output / "build"),
        "--teacher.base-url", base_url, "--teacher.model", MODEL,
        "--samples-per-question", "3", "--rephrasings-per-seed", "3", "--masks-per-seed", "3",
        "--shots", "0",
    ]  # fmt: skip


def ablation_options(output: Path, size: Size, concurrent_trials: int) -> list[str]:
    """Each mix with all the rows it has, as in the paper, and as many steps as any other."""
    problems = output / "problems"
    return [
        "--data", str(output / "build"), "--model", str(output / "student"), "--output", str(output / "ablation"),
        "--mixes", "table1", "--seeds", str(size.seeds), "--equal", "steps", "--training.max-steps", str(size.steps),
        "--choose", "all", "--dev-problems", "0", "--concurrent-trials", str(concurrent_trials),
        "--training.num-workers", "0", "--training.precision", "fp32", "--training.zero-stage", "0",
        "--training.max-length", "256", "--training.global-batch-size", "8", "--training.micro-batch-size", "8",
        "--training.learning-rate", "1e-3", "--training.checkpoint.every-steps", "1000",
        "--evaluation.engine", "transformers", "--evaluation.prompt", str(problems / "prompt.txt"),
        "--evaluation.batch-size", "240", "--evaluation.max-new-tokens", "128",
        "--evaluation.benchmarks", f"forward:{problems / 'forward.jsonl'}", f"backward:{problems / 'backward.jsonl'}",
    ]  # fmt: skip


@contextmanager
def teacher(size: Size) -> Iterator[str]:
    """The teacher in a process of its own; gives its base URL."""
    command = [sys.executable, str(HERE / "story_teacher.py"), SEED, str(size.train), str(size.wrong_share)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def run_job(job: str, options: list[str]) -> None:
    """Run a job of ours to its end; ends the study where it fails."""
    print(shlex.join(["python", f"jobs/{job}", *options]), flush=True)
    environment = os.environ | {"OPENAI_API_KEY": "none", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, str(JOBS / job), *options], env=environment)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
