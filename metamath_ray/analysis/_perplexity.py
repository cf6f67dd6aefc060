"""Perplexity of rows under a base model: of the response given the query, and of the whole text.

The text is the prompt, then the response at once. It is tokenised whole, as the model's tokenizer does by default
(with a beginning-of-sequence token where it adds one, and no end-of-sequence token of ours). A token belongs to the
response if it begins in it. With nll the sum of -log p(token | all before it), perplexity is exp(nll / tokens): over
the response's tokens, or over all tokens but the first, which nothing predicts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from metamath_ray.analysis._endpoint import EndpointFailedError
from metamath_ray.analysis._options import AnalysisOptions
from metamath_ray.analysis._row_sets import RowSet
from metamath_ray.analysis._scorers import ScorerSetup, ScoringWorker
from metamath_ray.analysis._statistics import Floats, Interval, ratio_interval
from metamath_ray.analysis._workers import OnProgress, Pool, map_blocks, model_pool, waiting_pool
from metamath_ray.student_prompt import render_student_prompt

_BLOCK_ROWS = 64
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Of a group's texts together, exp(nll / tokens), with its interval; `quantiles` and `mean` are of the rows'."""

    tokens: int
    perplexity: float
    interval: Interval | None
    mean: float
    quantiles: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GroupPerplexity:
    """The rows of one set and type, or of a whole set (`type` is then "")."""

    set: str
    type: str
    rows: int
    response: Perplexity
    text: Perplexity


@dataclass(frozen=True, slots=True)
class PerplexityResult:
    """A set's total, then its types; `num_too_long` rows were left out, `num_blank` had no response."""

    groups: tuple[GroupPerplexity, ...]
    model: str
    prompt: str
    num_too_long: int
    num_blank: int


def analyze_perplexity(
    sets: Sequence[tuple[str, RowSet]],
    *,
    setup: ScorerSetup,
    options: AnalysisOptions,
    on_progress: OnProgress,
) -> tuple[PerplexityResult, pa.Table]:
    """The result, and a table with a row for each scored row of the sets, which are named `data` and `base`.

    Raises `EndpointFailedError` where an endpoint refuses, and `ValueError` where no row is short enough.
    """
    filled = [(name, rows.without_blank("response")) for name, rows in sets]
    frame = _frame(filled, options.perplexity.prompt)
    scores = _score(frame, setup, options.num_workers, on_progress)
    table = _table(frame, scores)
    if not table.num_rows:
        raise ValueError(
            f"perplexity.max_length must be longer than the shortest row, got {options.perplexity.max_length}"
        )
    result = PerplexityResult(
        groups=tuple(_groups(table)),
        model=options.language_model,
        prompt=options.perplexity.prompt,
        num_too_long=frame.num_rows - table.num_rows,
        num_blank=sum(rows.num_blank for _, rows in filled),
    )
    return result, table


def render_texts(row_set: RowSet, prompt: str) -> Iterator[tuple[str, str]]:
    """Prompt and response of each row."""
    for row in row_set.rows:
        yield (render_student_prompt(row.query) if prompt == "student" else f"{row.query}\n"), row.response


def group_perplexity(nlls: Floats, tokens: Floats) -> Perplexity:
    """The perplexity of rows with these sums of -log p, over these numbers of tokens."""
    of_rows = np.exp(nlls / tokens)
    interval = ratio_interval(nlls, tokens)
    return Perplexity(
        tokens=int(tokens.sum()),
        perplexity=float(np.exp(nlls.sum() / tokens.sum())),
        interval=interval and Interval(float(np.exp(interval.low)), float(np.exp(interval.high))),
        mean=float(of_rows.mean()),
        quantiles=tuple(np.quantile(of_rows, _QUANTILES).tolist()),
    )


def _frame(sets: Sequence[tuple[str, RowSet]], prompt: str) -> pa.Table:
    """A row for each row of the sets, with what is scored."""
    texts = [pair for _, row_set in sets for pair in render_texts(row_set, prompt)]
    return pa.table(
        {
            "set": [name for name, row_set in sets for _ in row_set.rows],
            "row_id": [row.row_id for _, row_set in sets for row in row_set.rows],
            "type": [row.type for _, row_set in sets for row in row_set.rows],
            "prompt": pa.array([prompt for prompt, _ in texts], pa.large_string()),
            "response": pa.array([response for _, response in texts], pa.large_string()),
        }
    )


def _score(frame: pa.Table, setup: ScorerSetup, num_workers: int | None, on_progress: OnProgress) -> pa.Table:
    """The scores in the frame's order. Blocks hold rows of about the same length, the longest first."""
    prompts, responses = frame.column("prompt").to_pylist(), frame.column("response").to_pylist()
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    blocks = [
        frame.select(["prompt", "response"]).take(part).append_column("index", pa.array(part, pa.int64()))
        for part in (order[start : start + _BLOCK_ROWS] for start in range(0, len(order), _BLOCK_ROWS))
    ]
    pool: Pool = waiting_pool() if setup.place.is_endpoint else model_pool(num_workers)
    scored: list[pa.Table] = []
    done = 0
    on_progress("rows scored", 0, len(order))
    for result in map_blocks(blocks, ScoringWorker, setup, pool=pool):
        if failure := next(filter(None, result.column("failure").to_pylist()), ""):
            raise EndpointFailedError(failure)
        scored.append(result)
        done += result.num_rows
        on_progress("rows scored", done, len(order))
    return pa.concat_tables(scored).sort_by("index").drop_columns(["index", "failure"])


def _table(frame: pa.Table, scores: pa.Table) -> pa.Table:
    """The rows that were scored, with their perplexities."""
    columns: dict[str, Any] = {name: frame.column(name) for name in ("set", "row_id", "type")}
    columns |= {name: scores.column(name) for name in scores.column_names}
    table = pa.table(columns)
    table = table.filter(pa.array(scores.column("response_tokens").to_numpy() > 0))
    for what in ("response", "text"):
        nlls, tokens = _column(table, f"{what}_nll"), _column(table, f"{what}_tokens")
        table = table.append_column(f"{what}_perplexity", pa.array(np.exp(nlls / tokens)))
    return table


def _groups(table: pa.Table) -> Iterator[GroupPerplexity]:
    sets = np.array(table.column("set").to_pylist())
    types = np.array(table.column("type").to_pylist())
    for name in sorted(set(sets.tolist()), reverse=True):  # data, then base
        of_set = sets == name
        yield _group(table, of_set, name, "")
        for kind in sorted(set(types[of_set].tolist())):
            yield _group(table, of_set & (types == kind), name, kind)


def _group(table: pa.Table, chosen: Any, name: str, kind: str) -> GroupPerplexity:
    of = {
        what: group_perplexity(
            _column(table, f"{what}_nll")[chosen], _column(table, f"{what}_tokens")[chosen]
        )
        for what in ("response", "text")
    }
    return GroupPerplexity(name, kind, int(chosen.sum()), response=of["response"], text=of["text"])


def _column(table: pa.Table, name: str) -> Floats:
    values: Floats = table.column(name).to_numpy().astype(np.float64)
    return values
