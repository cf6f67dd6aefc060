"""What a finished build left in its run directory, read and checked."""

import json
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

Verdict = Literal["correct", "incorrect", "no_answer", "truncated", "failed"]

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class BadReportInputError(ValueError):
    """A run directory from which no page or card can be made; the text names the file and what is wrong."""


class Record(BaseModel):
    """A part of what a job wrote; what is not read here is left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Interval(Record):
    """A 95 % interval."""

    low: float
    high: float


class TeacherTotals(Record):
    """What this run asked of the teacher: made (sent), reused (already in the ledger); tokens of those made."""

    model: str
    calls_made: int
    calls_reused: int
    calls_failed: int
    prompt_tokens: int
    completion_tokens: int
    usd: float
    http_429: int = 0
    retries: int = 0


class LedgerTotals(Record):
    """What the replies that the rows come from took, whichever run asked for them."""

    replies: int
    prompt_tokens: int
    completion_tokens: int
    usd: float


class TypeYield(Record):
    """Counters of one released type; `target` None has no limit."""

    questions: int
    unusable_questions: int = 0
    paths: int
    correct: int
    incorrect: int
    no_answer: int
    truncated: int
    failed: int
    selected: int
    false_steps: int = 0
    target: int | None = None

    @property
    def acceptance(self) -> float | None:
        """Correct paths as a share of all paths, 0 to 1; None without a path."""
        return self.correct / self.paths if self.paths else None

    def count(self, verdict: Verdict) -> int:
        """Paths of that verdict."""
        return int(getattr(self, verdict))


class SamplingCost(Record):
    """What an accepted row of one type took with adaptive sampling, and is expected to take with uniform.

    `rows` are those that selection would keep, before it draws to the target; None where there is none, or where
    uniform sampling would have run dry.
    """

    rows: int
    paths: int
    paths_per_row: float | None
    usd_per_row: float | None
    uniform_paths_per_row: float | None
    uniform_usd_per_row: float | None

    @property
    def saving(self) -> float | None:
        """Paths saved against uniform sampling, as a share of its; negative where it would have needed fewer."""
        if self.paths_per_row is None or not self.uniform_paths_per_row:
            return None
        return 1 - self.paths_per_row / self.uniform_paths_per_row


class UnmetTarget(Record):
    """A type that has fewer rows than asked for, and why no further round was sampled."""

    selected: int
    target: int
    why: str


class PathDifference(Record):
    """Paths of one type, graded by the paper's cleaning and by the fixed rules; `points` are percentage points."""

    paths: int
    verdicts_differ: int
    correct_paper: int
    correct_fixed: int
    correct_only_paper: int
    correct_only_fixed: int
    rows: int
    rows_refused: int
    points: float


class SeedDifference(Record):
    """How the seeds' masks and clauses differ between the paper's rules and the fixed ones."""

    seeds: int
    masks_paper: int
    masks_fixed: int
    masks_only_paper: int
    masks_only_fixed: int
    seeds_masks_differ: int
    clauses_differ: int
    clauses_empty_paper: int


class CompatDifference(Record):
    """Both rule sets on the run's own paths and seeds."""

    by_type: dict[str, PathDifference]
    total: PathDifference
    seeds: SeedDifference


class DroppedExample(Record):
    """A correct path that is no row, and what it repeats or shares."""

    type: str
    question: str
    response: str
    against: str = ""


class Summary(Record):
    """`summary.json`."""

    version: str
    seeds: int
    seeds_by_source: dict[str, int]
    skipped_rows: int = 0
    duplicate_seeds: int = 0
    teacher: TeacherTotals
    ledger: LedgerTotals
    by_type: dict[str, TypeYield]
    unmet_targets: dict[str, UnmetTarget] = {}
    adaptive_sampling: dict[str, SamplingCost] = {}
    compat_difference: CompatDifference | None = None
    rounds: int = 0
    dropped: dict[str, dict[str, int]] = {}
    dropped_examples: dict[str, list[DroppedExample]] = {}
    rows: int
    dataset_sha256: str
    compat: str
    seconds: float

    @property
    def total(self) -> TypeYield:
        """All types added up; a target only where every type has one."""
        zero = TypeYield(
            questions=0,
            paths=0,
            correct=0,
            incorrect=0,
            no_answer=0,
            truncated=0,
            failed=0,
            selected=0,
            target=0,
        )
        return reduce(_add, self.by_type.values(), zero)


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory's small files, read, and the paths of its large ones, in order of their names."""

    folder: Path
    config: dict[str, Any]
    summary: Summary
    candidates: tuple[Path, ...]
    dataset: tuple[Path, ...]

    @property
    def prices(self) -> tuple[float, float]:
        """US dollars for a million prompt tokens and a million completion tokens, as the options say."""
        teacher = self.config.get("teacher") or {}
        names = ("usd_per_million_prompt_tokens", "usd_per_million_completion_tokens")
        prompt, completion = (float(teacher.get(name) or 0) for name in names)
        return prompt, completion


def load_run(folder: Path) -> Run:
    """The run in `folder`. Raises `BadReportInputError` where a file is missing or can't be read."""
    if not folder.is_dir():
        raise BadReportInputError(f"{folder} is no folder; name the run directory of a finished build")
    config = load_config(folder / "config.yaml")
    summary = _load_summary(folder / "summary.json")
    return Run(folder, config, summary, _parquet(folder / "candidates"), _parquet(folder / "dataset"))


def _add(one: TypeYield, other: TypeYield) -> TypeYield:
    counts = {
        name: getattr(one, name) + getattr(other, name) for name in TypeYield.model_fields if name != "target"
    }
    target = None if one.target is None or other.target is None else one.target + other.target
    return TypeYield(**counts, target=target)


def read_text(path: Path, *, writer: str = "a finished build") -> str:
    """The file's text; `BadReportInputError` where it is missing (`writer` writes it) or can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadReportInputError(f"{path} is missing; {writer} writes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadReportInputError(f"{path} can't be read: {error}") from None


def load_config(path: Path, *, writer: str = "a finished build") -> dict[str, Any]:
    """The options in a `config.yaml`; `BadReportInputError` as `read_text`, and where it holds no mapping."""
    try:
        config = yaml.safe_load(read_text(path, writer=writer))
    except yaml.YAMLError as error:
        raise BadReportInputError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise BadReportInputError(f"{path} must hold a mapping of options, got {type(config).__name__}")
    return config


def _load_summary(path: Path) -> Summary:
    text = read_text(path)
    try:
        return Summary.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise BadReportInputError(f"{path} is no JSON: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise BadReportInputError(f"{path}: {where}: {first['msg']}") from None


def _parquet(folder: Path) -> tuple[Path, ...]:
    paths = tuple(sorted(folder.glob("*.parquet")))
    if not paths:
        raise BadReportInputError(f"{folder} holds no *.parquet file; a finished build writes at least one")
    return paths
