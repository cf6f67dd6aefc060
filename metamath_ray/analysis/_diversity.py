"""Diversity gain (section 3.5 and figure 2 of the paper): how far new rows lie from a base set.

The gain is the mean over the new rows of min over the base of |f(x) - f(b)|^2, f an embedding.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from metamath_ray.analysis._embed import EmbeddingStore, embed_texts, unit_rows
from metamath_ray.analysis._nearest import Nearest, find_nearest
from metamath_ray.analysis._nearest_index import Recall, find_nearest_by_index
from metamath_ray.analysis._options import AnalysisOptions, TextOf
from metamath_ray.analysis._row_sets import RowSet
from metamath_ray.analysis._statistics import Interval, mean_interval
from metamath_ray.analysis._workers import OnProgress

_EQUAL = 1e-9  # squared distance of what counts as the same text
_SHOWN = 3
_SHOWN_CHARS = 600
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class GroupGain:
    """The gain of the new rows of one type, or of all; `quantiles` at 5, 25, 50, 75 and 95 %."""

    rows: int
    gain: float
    interval: Interval | None
    quantiles: tuple[float, ...]
    num_zero: int


@dataclass(frozen=True, slots=True)
class NearestPair:
    """A new row and the base row nearest to it, with the beginnings of their texts."""

    row_id: str
    nearest_row_id: str
    squared_distance: float
    text: str
    nearest_text: str


@dataclass(frozen=True, slots=True)
class DiversityResult:
    """The gains, and how they were found; `recall` is None where every pair was compared.

    `farthest` holds a few rows that the base set is farthest from, `closest` a few that are nearest but not equal.
    """

    total: GroupGain
    by_type: dict[str, GroupGain]
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


def analyze_diversity(
    data: RowSet, base: RowSet, *, store: EmbeddingStore, options: AnalysisOptions, on_progress: OnProgress
) -> tuple[DiversityResult, pa.Table]:
    """The result, and a table of `row_id, type, nearest_row_id, squared_distance`, a row for each new row."""
    wanted = options.diversity
    texts = [*data.texts(wanted.text), *base.texts(wanted.text)]
    vectors = embed_texts(store, texts, num_workers=options.num_workers, on_progress=on_progress)
    rows = unit_rows(vectors.rows) if wanted.unit_length else vectors.rows
    new, old = rows[: len(data.rows)], rows[len(data.rows) :]
    recall = None
    if len(old) <= wanted.exact_up_to:
        nearest = find_nearest(new, old, on_progress=on_progress)
    else:
        nearest, recall = find_nearest_by_index(
            new, old, recall_sample=wanted.recall_sample, seed=options.seed, on_progress=on_progress
        )
    table = _table(data, base, nearest)
    types = np.array(table.column("type").to_pylist())
    distances = nearest.squared_distances
    farthest, closest = _examples(data, base, nearest, wanted.text)
    result = DiversityResult(
        total=gain_of(distances),
        by_type={kind: gain_of(distances[types == kind]) for kind in sorted(set(types.tolist()))},
        text=wanted.text,
        dimension=store.dimension,
        unit_length=wanted.unit_length,
        num_base=len(old),
        num_texts=vectors.num_distinct,
        num_embedded=vectors.num_embedded,
        num_cut=vectors.num_cut,
        recall=recall,
        farthest=farthest,
        closest=closest,
    )
    return result, table


def gain_of(squared_distances: npt.ArrayLike) -> GroupGain:
    """The gain of rows with these distances to the base set."""
    distances = np.asarray(squared_distances, np.float64)
    return GroupGain(
        rows=len(distances),
        gain=float(distances.mean()),
        interval=mean_interval(distances),
        quantiles=tuple(np.quantile(distances, _QUANTILES).tolist()),
        num_zero=int((distances <= _EQUAL).sum()),
    )


def _table(data: RowSet, base: RowSet, nearest: Nearest) -> pa.Table:
    return pa.table(
        {
            "row_id": [row.row_id for row in data.rows],
            "type": [row.type for row in data.rows],
            "nearest_row_id": [base.rows[place].row_id for place in nearest.places.tolist()],
            "squared_distance": nearest.squared_distances,
        }
    )


def _examples(
    data: RowSet, base: RowSet, nearest: Nearest, of: TextOf
) -> tuple[tuple[NearestPair, ...], tuple[NearestPair, ...]]:
    order = np.argsort(nearest.squared_distances, kind="stable")
    others = order[nearest.squared_distances[order] > _EQUAL]
    texts, base_texts = data.texts(of), base.texts(of)

    def pair(row: int) -> NearestPair:
        place = int(nearest.places[row])
        return NearestPair(
            data.rows[row].row_id,
            base.rows[place].row_id,
            float(nearest.squared_distances[row]),
            texts[row][:_SHOWN_CHARS],
            base_texts[place][:_SHOWN_CHARS],
        )

    return tuple(map(pair, order[::-1][:_SHOWN].tolist())), tuple(map(pair, others[:_SHOWN].tolist()))
