"""What a finished evaluation left in its output folder, read and checked."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from metamath_ray.reports._run import BadReportInputError

RuleSet = Literal["fixed", "paper"]
EvaluationVerdict = Literal["correct", "incorrect", "no_answer", "truncated", "unknown", "failed"]

EVALUATION_VERDICTS: tuple[EvaluationVerdict, ...] = get_args(EvaluationVerdict)
RULE_SETS: tuple[RuleSet, ...] = get_args(RuleSet)

COLUMNS = [
    "problem_id",
    "prompt",
    "question",
    "completion",
    "finish_reason",
    "expected",
    "extracted_fixed",
    "verdict_fixed",
    "extracted_paper",
    "verdict_paper",
    "subject",
    "level",
    "kind",
]
"""Columns of a table of predictions that the pages show."""

_Document = TypeVar("_Document", bound=BaseModel)
_FileName = Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]  # of a table: a summary may be a stranger's


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Bounds(_Record):
    """A 95 % interval."""

    low: float
    high: float


class Counts(_Record):
    """Verdicts of some greedy completions, and the accuracy with its interval."""

    n: int
    correct: int
    accuracy: float | None
    interval: Bounds
    incorrect: int
    no_answer: int
    truncated: int
    unknown: int
    failed: int

    def count(self, verdict: EvaluationVerdict) -> int:
        """Completions of that verdict."""
        return int(getattr(self, verdict))


class ThirdCounts(_Record):
    """A third of the problems; its shortest and longest question in characters."""

    shortest: int
    longest: int
    score: Counts


class Share(_Record):
    """pass@k or maj@k of one k."""

    k: int
    share: float
    interval: Bounds


class SampleShares(_Record):
    """Samples at a temperature."""

    samples_per_problem: int
    pass_at: list[Share]
    maj_at: list[Share]


class RuleCounts(_Record):
    """A benchmark under one rule set."""

    total: Counts
    by_subject: dict[str, Counts] = {}
    by_level: dict[str, Counts] = {}
    by_subject_and_level: dict[str, dict[str, Counts]] = {}
    by_kind: dict[str, Counts] = {}
    by_third: list[ThirdCounts] = []
    samples: SampleShares | None = None


class BenchmarkResult(_Record):
    """A benchmark under both rule sets."""

    n: int
    fixed: RuleCounts
    paper: RuleCounts
    only_fixed: int
    only_paper: int
    reached_limit: int
    prompt_tokens: int
    completion_tokens: int

    def under(self, rules: RuleSet) -> RuleCounts:
        """The counts under those rules."""
        return self.fixed if rules == "fixed" else self.paper


class EvaluationSummary(_Record):
    """`summary.json` of an evaluation."""

    version: str
    model: dict[str, Any]
    engine: dict[str, Any]
    graders: dict[str, str]
    grader: RuleSet
    benchmarks: dict[_FileName, BenchmarkResult]
    completions_reused: int = 0
    seconds: float

    @property
    def model_name(self) -> str:
        """The model's name, without the folders before it."""
        return Path(str(self.model.get("name", "model"))).name or "model"


class FlippedItem(_Record):
    """A problem that one of two got right."""

    problem_id: str
    verdict_a: EvaluationVerdict
    verdict_b: EvaluationVerdict


class Paired(_Record):
    """B against A under one rule set."""

    correct_a: int
    correct_b: int
    only_a: int
    only_b: int
    difference: float
    interval: Bounds
    p_value: float
    num_other_verdicts: int
    flips: list[FlippedItem]


class PairedBenchmark(_Record):
    """B against A on one benchmark."""

    n: int
    missing_in_a: int
    missing_in_b: int
    num_other_prompts: int
    num_other_completions: int
    fixed: Paired
    paper: Paired

    def under(self, rules: RuleSet) -> Paired:
        """The comparison under those rules."""
        return self.fixed if rules == "fixed" else self.paper


class ComparisonDocument(_Record):
    """`comparison.json`."""

    benchmarks: dict[str, PairedBenchmark]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation's small files, read, and the table of each benchmark."""

    folder: Path
    config: dict[str, Any]
    summary: EvaluationSummary
    tables: dict[str, Path]


def load_evaluation(folder: Path) -> Evaluation:
    """The evaluation in `folder`. Raises `BadReportInputError` where a file is missing or can't be read."""
    if not folder.is_dir():
        raise BadReportInputError(f"{folder} is no folder; name the output of a finished evaluation")
    summary = read_document(folder / "summary.json", EvaluationSummary)
    tables = {name: folder / "predictions" / f"{name}.parquet" for name in summary.benchmarks}
    for path in tables.values():
        if not path.is_file():
            raise BadReportInputError(f"{path} is missing; a finished evaluation writes it")
    return Evaluation(folder, _load_config(folder / "config.yaml"), summary, tables)


def read_document(path: Path, kind: type[_Document]) -> _Document:
    """A JSON file as that record. Raises `BadReportInputError` that names file and field."""
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise BadReportInputError(f"{path} is missing; a finished evaluation writes it") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadReportInputError(f"{path} can't be read: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise BadReportInputError(f"{path}: {where}: {first['msg']}") from None


def read_greedy(path: Path, columns: list[str]) -> pa.Table:
    """Those columns of the greedy completions. Raises `BadReportInputError` where the table can't be read."""
    try:
        return pq.read_table(path, columns=columns, filters=[("sample_index", "==", 0)])
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise BadReportInputError(f"{path} can't be read: {str(error).splitlines()[0]}") from None


def _load_config(path: Path) -> dict[str, Any]:
    """The options as resolved; none where a program wrote the evaluation without a job."""
    if not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadReportInputError(f"{path} can't be read: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise BadReportInputError(f"{path} must hold a mapping of options, got {type(config).__name__}")
    return config
