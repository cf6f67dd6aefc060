"""What an ablation left in its output folder, read and checked."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from metamath_ray.reports._run import BadReportInputError, Interval, Record, load_config, read_text

_WRITER = "the ablation job"


class MixRows(Record):
    """What a mix's training sets hold: rows, tokens, and rows by type."""

    name: str
    rows: int
    tokens: int
    by_type: dict[str, int]


class SeedScore(Record):
    """The accuracy of one seed's student."""

    seed: int
    accuracy: float


class PaperNumber(Record):
    """A mix's accuracy in the paper, a share by benchmark; `data` are the seed problems of its rows."""

    mix: str
    data: str
    table: str
    accuracy: dict[str, float]


class MixScore(Record):
    """A mix on a benchmark: the mean over its seeds, and the paper's number where it may stand beside ours."""

    mix: str
    accuracy: float
    interval: Interval
    over: str
    by_seed: tuple[SeedScore, ...] = Field(min_length=1)
    paper: PaperNumber | None


class MixDifference(Record):
    """The accuracy of `second` less that of `first`."""

    first: str
    second: str
    difference: float
    interval: Interval
    over: str
    share_not_above: float
    p_value: float
    p_holm: float


class BenchmarkScores(Record):
    """A benchmark: `split` is dev or test."""

    benchmark: str
    split: str
    num_problems: int
    scores: tuple[MixScore, ...] = Field(min_length=1)
    differences: tuple[MixDifference, ...]


class PaperNumbers(Record):
    """The paper's numbers for the mixes of these names, and whose they are."""

    model: str
    numbers: tuple[PaperNumber, ...]


class AblationStatistics(Record):
    """`statistics.json`."""

    version: str
    num_resamples: int
    mixes: tuple[MixRows, ...]
    benchmarks: tuple[BenchmarkScores, ...] = Field(min_length=1)
    paper: PaperNumbers


@dataclass(frozen=True, slots=True)
class Ablation:
    """An output folder, read; no options where there is no `config.yaml`."""

    config: dict[str, Any]
    statistics: AblationStatistics


def load_ablation(folder: Path) -> Ablation:
    """The ablation in `folder`. Raises `BadReportInputError` where a file is missing or can't be read."""
    path, config = folder / "statistics.json", folder / "config.yaml"
    try:
        statistics = AblationStatistics.model_validate(json.loads(read_text(path, writer=_WRITER)))
    except json.JSONDecodeError as error:
        raise BadReportInputError(f"{path} is no JSON: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole of it"
        raise BadReportInputError(f"{path}: {place}: {first['msg']}") from None
    return Ablation(load_config(config, writer=_WRITER) if config.exists() else {}, statistics)
