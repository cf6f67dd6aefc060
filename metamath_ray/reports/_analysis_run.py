"""What the analyses left in their output folder, read and checked."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from metamath_ray.reports._run import BadReportInputError, Interval, Record, load_config, read_text

_WRITER = "the analysis job"


class Rows(Record):
    """A set of rows that was analysed."""

    name: str
    rows: int
    by_type: dict[str, int]
    blank: int


class Gain(Record):
    """Squared distances of new rows to the base set; quantiles at 5, 25, 50, 75 and 95 %."""

    rows: int
    gain: float
    interval: Interval | None
    quantiles: tuple[float, float, float, float, float]
    num_zero: int


class Recall(Record):
    """How often the index found the true nearest."""

    num_checked: int
    share: float
    mean_excess: float


class NearestPair(Record):
    """A new row and its nearest."""

    row_id: str
    nearest_row_id: str
    squared_distance: float
    text: str
    nearest_text: str


class Diversity(Record):
    """Diversity gain."""

    total: Gain
    by_type: dict[str, Gain]
    text: str
    dimension: int
    unit_length: bool
    num_base: int
    num_texts: int
    num_embedded: int
    num_cut: int
    recall: Recall | None
    farthest: tuple[NearestPair, ...]
    closest: tuple[NearestPair, ...]


class TokensPerplexity(Record):
    """A group's perplexity over its tokens; mean and quantiles of its rows'."""

    tokens: int
    perplexity: float
    interval: Interval | None
    mean: float
    quantiles: tuple[float, float, float, float, float]


class PerplexityGroup(Record):
    """The rows of a set and type; `type` is "" for the whole set."""

    set: str
    type: str
    rows: int
    response: TokensPerplexity
    text: TokensPerplexity


class Perplexity(Record):
    """Perplexity under a base model."""

    groups: tuple[PerplexityGroup, ...]
    model: str
    prompt: str
    num_too_long: int
    num_blank: int


class OverlapGroup(Record):
    """Rows that share something with the base set."""

    rows: int
    exact: int
    near: int
    near_same_numbers: int
    gram_only: int
    with_gram: int
    gram_share: float

    @property
    def nothing(self) -> int:
        """Rows that share nothing that was looked for."""
        return self.rows - self.exact - self.near - self.gram_only


class Overlap(Record):
    """Overlap and near-duplicates of two sets."""

    total: OverlapGroup
    by_type: dict[str, OverlapGroup]
    text: str
    gram_words: int
    threshold: float
    num_texts: int
    num_base_texts: int
    num_pairs: int
    miss_at_threshold: float


class Third(Record):
    """A third of the problems by length."""

    name: str
    shortest: int
    longest: int
    n: int
    correct: int
    accuracy: float
    interval: Interval


class LengthScores(Record):
    """A benchmark's thirds under one rule set."""

    evaluation: str
    benchmark: str
    rules: str
    n: int
    thirds: tuple[Third, Third, Third]
    fall: float
    fall_interval: Interval


class Length(Record):
    """Accuracy by length of question."""

    scores: tuple[LengthScores, ...]


class Mix(Record):
    """A data mix."""

    mix: str
    diversity_gain: float
    accuracy: float


class Correlation(Record):
    """Pearson's correlation over mixes."""

    n: int
    pearson: float
    interval: Interval | None
    slope: float
    intercept: float
    accuracy_column: str
    mixes: tuple[Mix, ...]


class AnalysisSummary(Record):
    """`summary.json`; None for an analysis that was not asked for."""

    version: str
    analyses: tuple[str, ...]
    data: Rows | None
    base: Rows | None
    diversity: Diversity | None = None
    perplexity: Perplexity | None = None
    overlap: Overlap | None = None
    length: Length | None = None
    correlation: Correlation | None = None
    seconds: float


@dataclass(frozen=True, slots=True)
class AnalysisRun:
    """An output folder, read."""

    folder: Path
    config: dict[str, Any]
    summary: AnalysisSummary


def load_analysis(folder: Path) -> AnalysisRun:
    """The analyses in `folder`. Raises `BadReportInputError` where a file is missing or can't be read."""
    config = load_config(folder / "config.yaml", writer=_WRITER)
    path = folder / "summary.json"
    try:
        summary = AnalysisSummary.model_validate(json.loads(read_text(path, writer=_WRITER)))
    except json.JSONDecodeError as error:
        raise BadReportInputError(f"{path} is no JSON: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole of it"
        raise BadReportInputError(f"{path}: {place}: {first['msg']}") from None
    return AnalysisRun(folder, config, summary)


def read_column(folder: Path, table: str, column: str) -> list[Any]:
    """A column of a result's table. Raises `BadReportInputError`."""
    return [row[column] for row in read_rows(folder, table, columns=[column])]


def read_rows(
    folder: Path, table: str, *, columns: list[str], limit: int | None = None
) -> list[dict[str, Any]]:
    """The first rows of a result's table. Raises `BadReportInputError`."""
    path = folder / f"{table}.parquet"
    try:
        rows: list[dict[str, Any]] = pq.read_table(path, columns=columns)[:limit].to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise BadReportInputError(f"{path} can't be read: {str(error).splitlines()[0]}") from None
    return rows
