"""What the stages of a demo left in their folders, read and checked."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from metamath_ray.reports._evaluation_run import (
    ComparisonDocument,
    Counts,
    Evaluation,
    Paired,
    load_evaluation,
    read_document,
)
from metamath_ray.reports._run import Run, load_run
from metamath_ray.reports._training_run import TrainingRun, load_training_run


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFolders:
    """Where each stage of a demo writes: the build's run directory and the jobs' output folders."""

    build: Path
    before: Path
    training: Path
    after: Path
    comparison: Path


@dataclass(frozen=True, slots=True)
class BenchmarkChange:
    """A benchmark before and after, and the paired difference, by the rules of the headline."""

    name: str
    before: Counts
    after: Counts
    paired: Paired

    @property
    def without_answer(self) -> tuple[int, int]:
        """Completions that ended, or were cut, before a final answer: before and after."""
        return (
            self.before.no_answer + self.before.truncated,
            self.after.no_answer + self.after.truncated,
        )


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo's finished stages."""

    folders: DemoFolders
    build: Run
    training: TrainingRun
    before: Evaluation
    after: Evaluation
    comparison: ComparisonDocument

    def changes(self) -> Iterator[BenchmarkChange]:
        """Each benchmark that both evaluations have, in the order in which it was asked."""
        rules = self.after.summary.grader
        for name, paired in self.comparison.benchmarks.items():
            before, after = (
                one.summary.benchmarks[name].under(rules).total for one in (self.before, self.after)
            )
            yield BenchmarkChange(name, before, after, paired.under(rules))


def load_demo(folders: DemoFolders) -> Demo:
    """The demo in those folders. Raises `BadReportInputError` where a file is missing or can't be read."""
    return Demo(
        folders,
        load_run(folders.build),
        load_training_run(folders.training),
        load_evaluation(folders.before),
        load_evaluation(folders.after),
        read_document(folders.comparison / "comparison.json", ComparisonDocument),
    )
