"""From `--data` to packed data in the output folder: done once, found again while nothing changed."""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metamath_ray.dataset_rows import DatasetRow
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._packed import (
    DATA_VERSION,
    Int32s,
    Manifest,
    Pack,
    PackedData,
    read_manifest,
    write_packs,
)
from metamath_ray.training._packing import pack_documents
from metamath_ray.training._rows import LoadedRows, load_rows
from metamath_ray.training._template import template_identity
from metamath_ray.training._tokenize import Documents, tokenise_rows, tokenizer_identity

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What decides, beside the rows, what is packed how."""

    tokenizer: str
    template: str
    max_length: int
    packing: bool
    cut: bool


@dataclass(frozen=True, slots=True)
class _Fitted:
    """The documents that are packed: their rows and, after the cut of paper mode, their lengths."""

    documents: Documents
    chosen: list[int]
    lengths: list[int]
    num_cut: int
    num_too_long: int


def prepare_data(options: TrainOptions, folder: Path) -> PackedData:
    """The packed rows of `options.data` in `folder`, tokenised and packed where they are not there already.

    For the driver: workers open the folder with `PackedData.open`. Uses Ray Data where Ray runs; the files are
    the same without. Raises `ValueError` and `FileNotFoundError` as `load_rows` and `load_tokenizer` do, where no
    row fits `max_length`, and `DamagedDataError` where data of the same key was changed since.
    """
    from metamath_ray.training._model import load_tokenizer

    if not options.data:
        raise ValueError("data must name the rows to train on, got none; give --data")
    started = time.monotonic()
    loaded = load_rows(options.data, limit=options.limit_rows)
    recipe = _recipe(options, tokenizer_identity(load_tokenizer(options.model)))
    key = _key(loaded.rows, recipe)
    if _has_key(folder, key):
        _LOG.info("packed data in %s is used again", folder)
        return PackedData.open(folder, verify=True)
    fitted = _fit(tokenise_rows(loaded.rows, model=options.model, compat=options.compat), recipe)
    if not fitted.chosen:
        raise ValueError(
            f"max_length must be longer than the shortest row, got {recipe.max_length}; no row fits"
        )
    _write(loaded, fitted, recipe, key, folder, started)
    return PackedData.open(folder)


def _recipe(options: TrainOptions, tokenizer: str) -> _Recipe:
    paper = options.compat == "paper"
    return _Recipe(
        tokenizer=tokenizer,
        template=template_identity(options.compat),
        max_length=options.max_length,
        packing=options.packing and not paper,
        cut=paper,
    )


def _key(rows: Sequence[DatasetRow], recipe: _Recipe) -> str:
    state = hashlib.sha256(repr((DATA_VERSION, recipe)).encode())
    for row in rows:
        state.update(json.dumps([row.row_id, row.query, row.response]).encode())
    return state.hexdigest()


def _has_key(folder: Path, key: str) -> bool:
    try:
        return read_manifest(folder).key == key
    except FileNotFoundError:
        return False


def _fit(documents: Documents, recipe: _Recipe) -> _Fitted:
    """Leave out what is longer than `max_length`; in paper mode cut it, unless only prompt would be left."""
    lengths = documents.lengths
    fits = lengths <= recipe.max_length
    keep = fits | (recipe.cut & (documents.prompt_lengths < recipe.max_length))
    return _Fitted(
        documents=documents,
        chosen=np.flatnonzero(keep).tolist(),
        lengths=np.minimum(lengths, recipe.max_length)[keep].tolist(),
        num_cut=int((keep & ~fits).sum()),
        num_too_long=int((~keep).sum()),
    )


def _write(
    loaded: LoadedRows, fitted: _Fitted, recipe: _Recipe, key: str, folder: Path, started: float
) -> None:
    plan = (
        pack_documents(fitted.lengths, max_length=recipe.max_length)
        if recipe.packing
        else [[i] for i in range(len(fitted.chosen))]
    )
    num_tokens = sum(fitted.lengths)
    prompts = fitted.documents.prompt_lengths[fitted.chosen]
    too_long = {"too_long": fitted.num_too_long} if fitted.num_too_long else {}
    dropped = loaded.dropped | too_long

    def describe(packs_sha256: str, packs_bytes: int) -> Manifest:
        return Manifest(
            version=DATA_VERSION,
            key=key,
            tokenizer=recipe.tokenizer,
            template=recipe.template,
            max_length=recipe.max_length,
            packing=recipe.packing,
            num_rows=len(fitted.chosen),
            num_packs=len(plan),
            num_tokens=num_tokens,
            num_response_tokens=num_tokens - int(prompts.sum()),
            num_cut=fitted.num_cut,
            real_token_share=num_tokens / (len(plan) * recipe.max_length),
            dropped=dropped,
            seconds=round(time.monotonic() - started, 3),
            packs_sha256=packs_sha256,
            packs_bytes=packs_bytes,
        )

    manifest = write_packs(_packs(loaded.rows, fitted, plan), folder, describe=describe)
    _report(manifest, folder)


def _packs(rows: Sequence[DatasetRow], fitted: _Fitted, plan: Sequence[Sequence[int]]) -> Iterator[Pack]:
    for members in plan:
        indices = [fitted.chosen[i] for i in members]
        lengths = [fitted.lengths[i] for i in members]
        ids = [fitted.documents[index][:length] for index, length in zip(indices, lengths, strict=True)]
        yield Pack(
            input_ids=np.concatenate(ids),
            lengths=_int32s(lengths),
            prompt_lengths=fitted.documents.prompt_lengths[indices],
            row_ids=tuple(rows[index].row_id for index in indices),
        )


def _int32s(values: Sequence[int]) -> Int32s:
    return np.asarray(values, np.int32)


def _report(manifest: Manifest, folder: Path) -> None:
    dropped = ", ".join(f"{reason} {count}" for reason, count in manifest.dropped.items()) or "none"
    _LOG.info(
        "%d rows in %d packs in %s: %d tokens, %.1f %% of the positions; dropped: %s; cut: %d; %.1f s",
        manifest.num_rows,
        manifest.num_packs,
        folder,
        manifest.num_tokens,
        100 * manifest.real_token_share,
        dropped,
        manifest.num_cut,
        manifest.seconds,
    )
