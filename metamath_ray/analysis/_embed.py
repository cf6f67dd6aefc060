"""The vectors of texts: what the cache has is read, the rest is embedded on Ray Data and kept."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from metamath_ray.analysis._embedders import EmbedderSetup, EmbeddingWorker, probe_embedder
from metamath_ray.analysis._embedding_cache import (
    EmbeddingCache,
    EmbeddingWriter,
    Floats32,
    cache_folder,
    describe_cache,
    read_dimension,
    text_key,
)
from metamath_ray.analysis._endpoint import EndpointFailedError
from metamath_ray.analysis._workers import OnProgress, map_blocks, model_pool, waiting_pool

_LOCAL_BLOCK = 256


@dataclass(frozen=True, slots=True)
class EmbeddingStore:
    """An embedder with its place in the cache; `num_probed` texts, one or none, were embedded to open it."""

    setup: EmbedderSetup
    folder: Path
    dimension: int
    num_probed: int


@dataclass(frozen=True, slots=True)
class Vectors:
    """A row of `rows` for each text; how many of the distinct texts were embedded now, and how many were cut."""

    rows: Floats32
    num_distinct: int
    num_embedded: int
    num_cut: int


def open_store(setup: EmbedderSetup, texts: Iterable[str]) -> EmbeddingStore:
    """The store for these texts, after the first that is not in the cache was embedded and kept; if all are, none.

    Raises `EndpointFailedError` where an endpoint is not as it should be, `BadCacheError` for the cache, and
    `ValueError` for a model that can't be loaded.
    """
    identity = setup.identity()
    folder = cache_folder(setup.options.cache, identity)
    dimension = read_dimension(folder)
    if dimension is not None:
        cache = EmbeddingCache(folder, dimension=dimension)
        texts = (text for text in texts if cache.missing([text_key(text)]))
    text = next(iter(texts), None)
    if text is None:
        assert dimension is not None, "no texts"
        return EmbeddingStore(setup, folder, dimension, num_probed=0)
    embedded = probe_embedder(setup, text)
    dimension = embedded.vectors.shape[1]
    describe_cache(folder, identity, dimension=dimension)
    EmbeddingWriter(folder, dimension=dimension).append([text_key(text)], embedded.vectors, embedded.cut)
    return EmbeddingStore(setup, folder, dimension, num_probed=1)


def embed_texts(
    store: EmbeddingStore, texts: Sequence[str], *, num_workers: int | None, on_progress: OnProgress
) -> Vectors:
    """A vector for each text; equal texts are embedded once. Raises `EndpointFailedError`; what came is kept."""
    keys = [text_key(text) for text in texts]
    text_of = dict(zip(keys, texts, strict=True))
    missing = EmbeddingCache(store.folder, dimension=store.dimension).missing(keys)
    if missing:
        _embed([text_of[key] for key in missing], store, num_workers, len(text_of), on_progress)
    cache = EmbeddingCache(store.folder, dimension=store.dimension)
    if lost := cache.missing(keys):
        raise EndpointFailedError(
            f"{len(lost)} vectors were embedded but are not in {store.folder}: is it shared?"
        )
    return Vectors(cache.vectors(keys), len(text_of), store.num_probed + len(missing), cache.num_cut(text_of))


def unit_rows(vectors: Floats32) -> Floats32:
    """The vectors scaled to length 1; a zero vector stays."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    norms[norms == 0] = 1.0
    scaled: Floats32 = vectors / norms[:, None].astype(np.float32)
    return scaled


def _embed(
    texts: list[str], store: EmbeddingStore, num_workers: int | None, num_all: int, on_progress: OnProgress
) -> None:
    options = store.setup.options
    if store.setup.place.is_endpoint:
        pool, size = waiting_pool(), options.batch_size * options.max_in_flight * 4
    else:
        pool, size = model_pool(num_workers), _LOCAL_BLOCK
        texts.sort(key=len)  # texts of one block are padded to about the same length
    blocks = [pa.table({"text": pa.array(part, pa.large_string())}) for part in _parts(texts, size)]
    done = num_all - len(texts)
    on_progress("texts embedded", done, num_all)
    results = map_blocks(blocks, EmbeddingWorker, store.setup, str(store.folder), store.dimension, pool=pool)
    for result in results:
        for failure in result.column("failure").to_pylist():
            if failure:
                raise EndpointFailedError(failure)
        done += sum(result.column("num_embedded").to_pylist())
        on_progress("texts embedded", done, num_all)


def _parts(texts: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(texts), size):
        yield texts[start : start + size]
