"""A text as its words, its runs of words under 64-bit hashes, and a MinHash of its trigrams: all on Ray Data."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from metamath_ray.analysis._workers import cpu_pool, map_blocks

Hashes = npt.NDArray[np.uint64]
Signatures = npt.NDArray[np.uint32]

TRIGRAM = 3
NUM_PERMUTATIONS = 256

_BLOCK_TEXTS = 512
_WORD = re.compile(r"\d+(?:[.,]\d+)*|\.\d+|[^\W\d_]+|[-+*/=<>%^]")
_TEMPLATE = re.compile(
    r"(?:if we know the answer (?:to|of) the above question is .{0,300}?, )?"
    r"what is the value of unknown variable x\s*\?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Sketches:
    """For each text its distinct runs of words, as hashes, and its MinHash as a row."""

    grams: list[Hashes]
    signatures: Signatures


def split_words(text: str) -> list[str]:
    """Case-folded words, numbers without thousands separators, and operators; no other signs.

    The sentences that all backward questions end with are left out: they are shared by construction.
    """
    folded = _TEMPLATE.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    return [word.replace(",", "") if word[-1].isdigit() else word for word in _WORD.findall(folded)]


def numbers_of(words: Sequence[str]) -> list[str]:
    """The numbers among the words, sorted."""
    return sorted(word for word in words if word[-1].isdigit())


def trigrams_of(words: Sequence[str]) -> frozenset[tuple[str, ...]]:
    """The distinct runs of three words; a shorter text as one."""
    if len(words) < TRIGRAM:
        return frozenset([tuple(words)])
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def jaccard(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    """Shared trigrams over all trigrams, 0 to 1."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def hash_runs(words: Sequence[str], size: int) -> Hashes:
    """A hash of each run of `size` words, in order: the words' hashes times fixed powers, summed modulo 2**64."""
    if len(words) < size:
        return np.empty(0, np.uint64)
    hashes = np.fromiter(map(_word_hash, words), np.uint64, len(words))
    # Odd multipliers keep each term a bijection of its word.
    powers = np.cumprod(np.full(size, 0x9E3779B97F4A7C15, np.uint64), dtype=np.uint64)
    runs: Hashes = (np.lib.stride_tricks.sliding_window_view(hashes, size) * powers).sum(
        axis=1, dtype=np.uint64
    )
    return runs


def sketch_texts(texts: Sequence[str], *, gram_words: int) -> Sketches:
    """The sketches in the order of the texts."""
    blocks = [
        pa.table(
            {
                "index": np.arange(start, min(start + _BLOCK_TEXTS, len(texts))),
                "text": pa.array(texts[start : start + _BLOCK_TEXTS], pa.large_string()),
            }
        )
        for start in range(0, len(texts), _BLOCK_TEXTS)
    ]
    grams: list[Hashes] = [np.empty(0, np.uint64)] * len(texts)
    signatures = np.zeros((len(texts), NUM_PERMUTATIONS), np.uint32)
    for result in map_blocks(blocks, SketchWorker, gram_words, pool=cpu_pool()):
        index = result.column("index").to_numpy()
        rows = result.column("signature").combine_chunks().flatten().to_numpy()
        signatures[index] = rows.reshape(-1, NUM_PERMUTATIONS)
        for place, hashes in zip(index.tolist(), result.column("grams"), strict=True):
            grams[place] = hashes.values.to_numpy()
    return Sketches(grams, signatures)


class SketchWorker:
    """Sketches blocks of texts."""

    def __init__(self, gram_words: int) -> None:
        self._gram_words = gram_words

    def __call__(self, block: pa.Table) -> pa.Table:
        """`grams` and `signature` beside the block's `index`."""
        from datasketch import MinHash

        words = [split_words(text) for text in block.column("text").to_pylist()]
        grams = [np.unique(hash_runs(of_text, self._gram_words)) for of_text in words]
        # Their upper half: the sum's lower bits depend on the words' lower bits alone.
        trigrams = [(_trigram_hashes(of_text) >> np.uint64(32)).tolist() for of_text in words]
        sketches = MinHash.generator(trigrams, num_perm=NUM_PERMUTATIONS, seed=1, hashfunc=_as_it_is)
        signatures = [np.asarray(sketch.hashvalues, np.uint32) for sketch in sketches]
        return pa.table(
            {
                "index": block.column("index"),
                "grams": pa.array(grams, pa.list_(pa.uint64())),
                "signature": pa.array(signatures, pa.list_(pa.uint32())),
            }
        )


def _trigram_hashes(words: Sequence[str]) -> Hashes:
    return hash_runs(words, TRIGRAM if len(words) >= TRIGRAM else max(1, len(words)))


def _as_it_is(value: Any) -> Any:
    return value


@lru_cache(maxsize=1 << 17)
def _word_hash(word: str) -> int:
    # Python's own hash differs between processes.
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest())
