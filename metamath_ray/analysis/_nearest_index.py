"""For large base sets: the nearest by an HNSW index (faiss), and how often it is the true one."""

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from metamath_ray.analysis._embedding_cache import Floats32
from metamath_ray.analysis._nearest import Nearest, find_nearest, squared_distances
from metamath_ray.analysis._workers import OnProgress

_NEIGHBOURS = 32
_BUILD_WIDTH = 128
_SEARCH_WIDTH = 128
_ADD_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Recall:
    """Of `num_checked` new rows, the share whose nearest the index found, and the mean excess of its distance."""

    num_checked: int
    share: float
    mean_excess: float


def check_index_library() -> None:
    """Raises `ModuleNotFoundError` with the line to install it."""
    _faiss()


def find_nearest_by_index(
    new: Floats32, base: Floats32, *, recall_sample: int, seed: int, on_progress: OnProgress = lambda *_: None
) -> tuple[Nearest, Recall]:
    """The nearest as the index finds it, and its recall on `recall_sample` new rows drawn by seed."""
    faiss = _faiss()
    index = faiss.IndexHNSWFlat(base.shape[1], _NEIGHBOURS)
    index.hnsw.efConstruction = _BUILD_WIDTH
    for start in range(0, len(base), _ADD_ROWS):
        index.add(np.ascontiguousarray(base[start : start + _ADD_ROWS]))
        on_progress("base rows indexed", min(start + _ADD_ROWS, len(base)), len(base))
    index.hnsw.efSearch = _SEARCH_WIDTH
    _, found = index.search(np.ascontiguousarray(new), 1)
    places = found[:, 0].astype(np.int64)
    nearest = Nearest(places, squared_distances(new, base, places))
    return nearest, _recall(nearest, new, base, recall_sample, seed)


def _recall(nearest: Nearest, new: Floats32, base: Floats32, recall_sample: int, seed: int) -> Recall:
    size = min(recall_sample, len(new))
    drawn = np.sort(np.random.default_rng(seed).choice(len(new), size, replace=False))
    exact = find_nearest(new[drawn], base)
    excess = nearest.squared_distances[drawn].astype(np.float64) - exact.squared_distances
    found = (nearest.places[drawn] == exact.places) | (excess <= 0)  # another base row at the same distance
    return Recall(size, float(found.mean()), float(np.maximum(excess, 0.0).mean()))


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "a base set beyond --diversity.exact-up-to needs an index; pip install 'metamath-ray[index]' "
            "(faiss-cpu), or raise the limit to compare every pair"
        ) from None
