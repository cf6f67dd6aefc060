"""The steps of the demo: which job with which options, what it reads and makes, how long it may take."""

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from metamath_ray.demo._options import DemoOptions, Size
from metamath_ray.demo._student import STUDENT
from metamath_ray.reports import DemoFolders

BENCHMARKS = {"bundled": 110, "bundled_backward": 216}
"""What both evaluations ask, and how many problems there are of it."""

_RECIPE = "smollm2-135m-cpu"
_PACKS_PER_STEP = 4
_PACKS_AT_ONCE = 2
_CHECKPOINT_STEPS = 12
_ENGINE = ("--engine.max-num-seqs", "64", "--engine.dtype", "bfloat16")  # one type before and after

# What two quiet cores take; only the times shown come from these.
_STUDENT_S, _BUILD_S, _COMPARISON_S = 40.0, 40.0, 6.0
_ENGINE_START_S, _TRAINING_START_S = 60.0, 75.0
_TOKENS_LEARNT_PER_S, _TOKENS_GENERATED_PER_S = 200.0, 150.0
_PACK_TOKENS = 512
_SHARE_BEFORE, _SHARE_AFTER = 0.6, 0.5  # of the most new tokens, on average


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One process of the demo.

    It is done where `makes` and `page` are there and `makes` is no older than what it `reads`: as make decides it.
    """

    name: str
    title: str
    command: tuple[str, ...]
    reads: tuple[Path, ...]
    makes: Path
    page: Path | None
    expected_s: float

    def is_done(self) -> bool:
        """Whether the step can be left out."""
        if not self.makes.is_file() or (self.page is not None and not self.page.is_file()):
            return False
        made = self.makes.stat().st_mtime_ns
        return all(path.is_file() and path.stat().st_mtime_ns <= made for path in self.reads)


def demo_folders(options: DemoOptions) -> DemoFolders:
    """Where each stage writes. The build is the same at any size and shared, as is the student that was brought."""
    sized = options.run_dir / options.size.name
    return DemoFolders(
        build=options.run_dir / "build",
        before=sized / "before",
        training=sized / "training",
        after=sized / "after",
        comparison=sized / "comparison",
    )


def plan_steps(options: DemoOptions, *, jobs: Path) -> tuple[Step, ...]:
    """The steps in order; `jobs` is the folder of the jobs."""
    return tuple(_steps(options, jobs))


def shown_command(step: Step) -> str:
    """The step's command as it can be typed in the folder that the demo runs in."""
    here = Path.cwd()
    words = [
        str(Path(word).relative_to(here)) if Path(word).is_relative_to(here) else word
        for word in step.command
    ]
    return shlex.join(words)


def _steps(options: DemoOptions, jobs: Path) -> Iterator[Step]:
    size, folders, student = options.size, demo_folders(options), options.student
    if options.model is None:
        yield Step(
            name="student",
            title=f"bring the student, {STUDENT}",
            command=_command(jobs / "demo.py", "--run-dir", options.run_dir, "--student-only"),
            reads=(),
            makes=student / "config.json",
            page=None,
            expected_s=_STUDENT_S,
        )
    yield Step(
        name="build",
        title="build MetaMathQA from the bundled seeds and recorded replies",
        command=_command(jobs / "build_metamathqa.py", "--run-dir", folders.build),
        reads=(),
        makes=folders.build / "summary.json",
        page=folders.build / "report.html",
        expected_s=_BUILD_S,
    )
    yield _evaluation(
        "before", "evaluate the student as it is", jobs, student, folders.before, size,
        reads=student / "config.json", share=_SHARE_BEFORE,
    )  # fmt: skip
    yield _training(jobs, student, folders, size)
    yield _evaluation(
        "after", "evaluate the student that has learnt", jobs, folders.training / "model", folders.after, size,
        reads=folders.training / "summary.json", share=_SHARE_AFTER,
    )  # fmt: skip
    yield _comparison(jobs, folders)


def _training(jobs: Path, student: Path, folders: DemoFolders, size: Size) -> Step:
    command = _command(
        jobs / "train_metamath.py", "--data", folders.build, "--recipe", _RECIPE, "--model", student,
        "--output", folders.training, "--max-steps", size.max_steps, "--global-batch-size", _PACKS_PER_STEP,
        "--micro-batch-size", _PACKS_AT_ONCE, "--checkpoint.every-steps", _CHECKPOINT_STEPS, "--checkpoint.keep", 1,
    )  # fmt: skip
    return Step(
        name="training",
        title=f"fine-tune it on the rows, {size.max_steps} steps",
        command=command,
        reads=(folders.build / "summary.json", student / "config.json"),
        makes=folders.training / "summary.json",
        page=folders.training / "report.html",
        expected_s=_TRAINING_START_S + size.max_steps * _PACKS_PER_STEP * _PACK_TOKENS / _TOKENS_LEARNT_PER_S,
    )


def _evaluation(
    name: str, title: str, jobs: Path, model: Path, output: Path, size: Size, *, reads: Path, share: float
) -> Step:
    num = sum(min(there_are, size.problems) for there_are in BENCHMARKS.values())
    command = _command(
        jobs / "evaluate_metamath.py", "--model", model, "--benchmarks", *BENCHMARKS, "--limit", size.problems,
        "--max-new-tokens.all", size.max_new_tokens, *_ENGINE, "--output", output,
    )  # fmt: skip
    return Step(
        name=name,
        title=f"{title}, {num} problems",
        command=command,
        reads=(reads,),
        makes=output / "summary.json",
        page=output / "report.html",
        expected_s=_ENGINE_START_S + num * share * size.max_new_tokens / _TOKENS_GENERATED_PER_S,
    )


def _comparison(jobs: Path, folders: DemoFolders) -> Step:
    command = _command(
        jobs / "evaluate_metamath.py",
        "--compare",
        folders.before,
        folders.after,
        "--output",
        folders.comparison,
    )
    return Step(
        name="comparison",
        title="compare the two",
        command=command,
        reads=(folders.before / "summary.json", folders.after / "summary.json"),
        makes=folders.comparison / "comparison.json",
        page=folders.comparison / "comparison.html",
        expected_s=_COMPARISON_S,
    )


def _command(job: Path, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, str(job), *map(str, arguments))
