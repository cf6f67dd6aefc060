"""For each new vector the nearest of a base set: every pair, by blocked matrix products.

The nearest by squared distance |x - b|^2 is the b with the largest x.b - |b|^2 / 2. With that half norm as one more
column of b, against a column of ones in x, one product gives the scores, and nothing but their largest is kept. The
distance to the nearest is then taken anew from the difference, so that it is exact for near-duplicates too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from metamath_ray.analysis._embedding_cache import Floats32
from metamath_ray.analysis._workers import OnProgress, cpu_pool, map_blocks, share_with_workers, shared_value

Int64s = npt.NDArray[np.int64]

_NEW_ROWS = 512  # of one product; with the base rows below 8 MB of scores, which stay in the cache
_BASE_ROWS = 4096
_BLOCK_ROWS = 2048  # new rows of one call of a worker


@dataclass(frozen=True, slots=True)
class Nearest:
    """For each new vector the place of its nearest base vector, and the squared distance to it."""

    places: Int64s
    squared_distances: Floats32


def find_nearest(new: Floats32, base: Floats32, *, on_progress: OnProgress = lambda *_: None) -> Nearest:
    """The nearest of all base vectors, on Ray Data where Ray runs; holds 8 MB of scores a thread.

    Of base vectors equally near, the first. `base` must have a row.
    """
    assert len(base)
    assert new.shape[1] == base.shape[1]
    ranges = [(start, min(start + _BLOCK_ROWS, len(new))) for start in range(0, len(new), _BLOCK_ROWS)]
    blocks = [pa.table({"start": [start], "end": [end]}) for start, end in ranges]
    places = np.zeros(len(new), np.int64)
    shared = share_with_workers(new), share_with_workers(with_half_norms(base))
    done = 0
    for result in map_blocks(blocks, NearestWorker, *shared, pool=cpu_pool()):
        places[result.column("row").to_numpy()] = result.column("place").to_numpy()
        done += result.num_rows
        on_progress("rows compared with the base set", done, len(new))
    return Nearest(places, squared_distances(new, base, places))


def squared_distances(new: Floats32, base: Floats32, places: Int64s) -> Floats32:
    """The squared distance of each new vector to the base vector at its place."""
    distances = np.empty(len(new), np.float32)
    for start in range(0, len(new), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        difference = new[rows].astype(np.float64) - base[places[rows]]
        distances[rows] = np.einsum("ij,ij->i", difference, difference)
    return distances


def with_half_norms(base: Floats32) -> Floats32:
    """The base vectors with one more column: minus half of the squared norm."""
    norms = np.einsum("ij,ij->i", base, base, dtype=np.float64)
    return np.column_stack([base, (-0.5 * norms).astype(np.float32)])


def best_places(new: Floats32, base: Floats32) -> Int64s:
    """The place of each new vector's nearest; `base` as `with_half_norms` gives it."""
    found = [_best_of_block(block, base) for block in _with_ones(new)]
    return np.concatenate([np.empty(0, np.int64), *found])


class NearestWorker:
    """Finds the nearest for ranges of the new vectors."""

    def __init__(self, new: Any, base: Any) -> None:
        self._new: Floats32 = shared_value(new)
        self._base: Floats32 = shared_value(base)

    def __call__(self, block: pa.Table) -> pa.Table:
        """`row` and `place` for the new rows of the ranges, `start` to `end`, in the block."""
        ranges = list(zip(block.column("start").to_pylist(), block.column("end").to_pylist(), strict=True))
        rows = [np.arange(start, end) for start, end in ranges]
        places = [best_places(self._new[start:end], self._base) for start, end in ranges]
        return pa.table({"row": np.concatenate(rows), "place": np.concatenate(places)})


def _with_ones(new: Floats32) -> Iterator[Floats32]:
    for start in range(0, len(new), _NEW_ROWS):
        block = new[start : start + _NEW_ROWS]
        yield np.column_stack([block, np.ones(len(block), np.float32)])


def _best_of_block(block: Floats32, base: Floats32) -> Int64s:
    scores = np.empty((len(block), _BASE_ROWS), np.float32)
    best = np.full(len(block), -np.inf, np.float32)
    places = np.zeros(len(block), np.int64)
    rows = np.arange(len(block))
    for start in range(0, len(base), _BASE_ROWS):
        part = base[start : start + _BASE_ROWS]
        whole = len(part) == _BASE_ROWS
        product = np.matmul(block, part.T, out=scores if whole else None)
        local = product.argmax(axis=1)
        values = product[rows, local]
        better = values > best
        best[better] = values[better]
        places[better] = local[better] + start
    return places
