"""Everything that the analyses read, read and checked before any of them begins."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from metamath_ray.analysis._correlation import Mix, load_mixes
from metamath_ray.analysis._embed import EmbeddingStore, open_store
from metamath_ray.analysis._embedders import make_setup
from metamath_ray.analysis._endpoint import EndpointFailedError
from metamath_ray.analysis._length import Predictions, load_predictions
from metamath_ray.analysis._nearest_index import check_index_library
from metamath_ray.analysis._options import AnalysisOptions, EndpointOptions, parse_place
from metamath_ray.analysis._perplexity import render_texts
from metamath_ray.analysis._row_sets import RowSet, load_row_set
from metamath_ray.analysis._scorers import ScorerSetup, check_scorer
from metamath_ray.teacher import ApiKey

_HOW = {
    "output", "num_workers", "cache", "api_key_env", "max_in_flight", "timeout_s", "max_retries",
    "batch_size", "batch_tokens",
}  # fmt: skip
_NEED_ROWS = {"diversity", "perplexity", "overlap"}


class BadEndpointError(ValueError):
    """An endpoint that is not there, or refuses the one text that it was asked first."""


@dataclass(frozen=True, slots=True)
class AnalysisPlan:
    """Options with all that they name; what no analysis needs is None or empty."""

    options: AnalysisOptions
    data: RowSet | None
    base: RowSet | None
    store: EmbeddingStore | None
    scorer: ScorerSetup | None
    predictions: tuple[Predictions, ...]
    mixes: tuple[str, tuple[Mix, ...]] | None

    @property
    def needs_ray(self) -> bool:
        """Whether an analysis goes over rows."""
        return self.data is not None


def plan_analysis(options: AnalysisOptions) -> AnalysisPlan:
    """Read the inputs, look models over, and ask each endpoint for one text that it was never asked for.

    Raises `ValueError` (`BadEndpointError` among them), `FileNotFoundError` and `ModuleNotFoundError`, each with one
    line; nothing is computed or written then but the first text's vector in the embedding cache.
    """
    wanted = set(options.analyses)
    predictions = load_predictions(options.evaluations) if "length" in wanted else ()
    mixes = load_mixes(options.mixes) if "correlation" in wanted and options.mixes else None
    data, base = _load_rows(options) if wanted & _NEED_ROWS else (None, None)
    if base is not None and "diversity" in wanted and len(base.rows) > options.diversity.exact_up_to:
        check_index_library()
    try:
        scorer = _check_scorer(options, data) if data and "perplexity" in wanted else None
        store = _open_store(options, (data, base)) if data and base and "diversity" in wanted else None
    except EndpointFailedError as error:
        raise BadEndpointError(str(error)) from None
    return AnalysisPlan(options, data, base, store, scorer, predictions, mixes)


def output_identity(config: dict[str, Any]) -> dict[str, Any]:
    """What two runs of one output folder must share: all but how the work is done."""
    return {
        name: output_identity(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name not in _HOW
    }


def _load_rows(options: AnalysisOptions) -> tuple[RowSet, RowSet | None]:
    data = load_row_set(
        options.data, types=options.types, limit=options.limit, seed=options.seed, option="types"
    )
    if not options.base:
        return data, None
    base = load_row_set(
        options.base,
        types=options.base_types,
        limit=options.base_limit,
        seed=options.seed,
        option="base_types",
    )
    return data, base


def _open_store(options: AnalysisOptions, sets: Sequence[RowSet]) -> EmbeddingStore:
    place = parse_place(options.embedder)
    setup = make_setup(place, options.embedding, api_key=_api_key(options.embedding))
    of = options.diversity.text
    texts = [row_set.without_blank(of).texts(of) for row_set in sets]
    for row_set, of_set in zip(sets, texts, strict=True):
        if not of_set:
            raise ValueError(f"every row of {row_set.name!r} has a blank {of}; none can be embedded")
    return open_store(setup, chain.from_iterable(texts))


def _check_scorer(options: AnalysisOptions, data: RowSet) -> ScorerSetup:
    place = parse_place(options.language_model)
    setup = ScorerSetup(place, options.perplexity, _api_key(options.perplexity))
    filled = data.without_blank("response")
    if not filled.rows:
        raise ValueError(f"every row of {data.name!r} has a blank response; perplexity needs one")
    shortest = min(render_texts(filled, options.perplexity.prompt), key=lambda pair: sum(map(len, pair)))
    check_scorer(setup, *shortest)
    return setup


def _api_key(options: EndpointOptions) -> ApiKey:
    """The key from the environment; a word where there is none, as the client wants one."""
    return ApiKey(os.environ.get(options.api_key_env) or "none")
