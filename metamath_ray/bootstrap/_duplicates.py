"""Which texts say the same thing again: exactly, or but for a word or two.

Two texts are near duplicates when they hold the same numbers equally often and the Jaccard similarity of
their word trigrams reaches a threshold. The numbers come first because a path with another intermediate
result is another path, however alike its words are.
"""

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from datasketch import MinHash

DEFAULT_NEAR_DUPLICATE_THRESHOLD = 0.6
"""Jaccard similarity of word trigrams from which a text repeats another.

Measured on the texts in `tests/unit/bootstrap/test_duplicates.py`, 35 words each: one or two words changed
or a phrase moved leaves 0.68 to 0.85, a real rewording 0.07 to 0.37. Five-grams let the small edits fall to
0.49, single words lift a rewording to 0.74: both too close to the other kind. Short paths whose sentences
were reworded lie at 0.2 to 0.57 and stay.
"""

SHINGLE_WORDS = 3

MINHASH_FROM = 512
"""Texts with the same numbers in one group from which MinHash proposes the pairs; below, all are compared.

Measured with 80-word texts: at 512 comparing takes 0.4 s and MinHash 0.5 s, at 1,024 1.7 s against 1.1 s.
"""

_NUM_PERMUTATIONS = 128
_MAX_MISS = 1e-8
_ANSWER = "The answer is:"
_WORD = re.compile(r"\d+(?:[.,]\d+)*|\.\d+|[^\W\d_]+|[-+*/=<>%^]")
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve"
_VALUES = {word: str(value) for value, word in enumerate(_SMALL.split())}

Shingles = frozenset[tuple[str, ...]]
"""The distinct word trigrams of a text; of a shorter text, all of it as one."""


def normalise_text(text: str) -> str:
    """The text in Unicode NFKC with single spaces; case stays, as MATH has both `x` and `X`."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def normalise_path(response: str) -> str:
    """A reasoning path normalised, without its answer tail (`#### 7`, `The answer is: 7`)."""
    body, found, _ = response.rpartition(_ANSWER)
    lines = (body if found else response).rstrip().rsplit("\n", maxsplit=1)
    if lines[-1].lstrip().startswith("####"):
        lines.pop()
    # A path that is all tail is told from others by its answer.
    return normalise_text("\n".join(lines)) or normalise_text(response)


def digest_texts(*texts: str) -> bytes:
    """16 bytes for the texts in this order; two of 600,000 fall together with a chance of 1e-27."""
    state = hashlib.blake2b(digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        state.update(len(data).to_bytes(8) + data)
    return state.digest()


def find_near_duplicates(
    texts: Sequence[str],
    *,
    threshold: float,
    kept: Iterable[str] = (),
    minhash_from: int = MINHASH_FROM,
) -> dict[int, str]:
    """Indices of the texts that repeat one before them, or one of `kept`, each with the text it repeats.

    Greedy in the order given: a text that is itself dropped drops no other. Compared are only texts with the
    same numbers. In groups of `minhash_from` and more, MinHash proposes the pairs and the exact similarity
    decides; it misses a pair at the threshold with a chance under 1e-8.
    """
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    everything = [*kept, *texts]
    num_kept = len(everything) - len(texts)
    words = [split_words(text) for text in everything]
    for index, of_text in enumerate(words):
        groups[_numbers(of_text)].append(index)
    repeats: dict[int, str] = {}
    for members in groups.values():
        if len(members) < 2 or members[-1] < num_kept:
            continue
        shingles = {index: make_shingles(words[index]) for index in members}
        use_minhash = len(members) >= minhash_from
        find = _repeats_by_minhash if use_minhash else _repeats_by_comparison
        found = find(shingles, threshold=threshold, num_kept=num_kept)
        repeats.update({index - num_kept: everything[first] for index, first in found.items()})
    return repeats


def split_words(text: str) -> list[str]:
    """Case-folded words, numbers (`twelve` as `12`, `1,200` as `1200`) and operators, no other signs."""
    found = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return [_VALUES.get(word) or (word.replace(",", "") if word[-1].isdigit() else word) for word in found]


def make_shingles(words: Sequence[str], *, size: int = SHINGLE_WORDS) -> Shingles:
    """The text's distinct runs of `size` words."""
    if len(words) < size:
        return frozenset([tuple(words)])
    return frozenset(zip(*(words[start:] for start in range(size)), strict=False))


def jaccard(one: Shingles, other: Shingles) -> float:
    """Shared shingles over all shingles, 0 to 1."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def _numbers(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(word for word in words if word[-1].isdigit()))


def _repeats_by_comparison(
    shingles: Mapping[int, Shingles], *, threshold: float, num_kept: int
) -> dict[int, int]:
    stay: list[int] = []
    repeats: dict[int, int] = {}
    for index, own in shingles.items():
        first = None if index < num_kept else _first_like(own, stay, shingles, threshold)
        if first is None:
            stay.append(index)
        else:
            repeats[index] = first
    return repeats


def _repeats_by_minhash(
    shingles: Mapping[int, Shingles], *, threshold: float, num_kept: int
) -> dict[int, int]:
    # Here, because it costs 0.7 s to import and most builds never need it.
    from datasketch import MinHashLSH

    lsh = MinHashLSH(num_perm=_NUM_PERMUTATIONS, params=_bands(threshold))
    repeats: dict[int, int] = {}
    for index, own in shingles.items():
        sketch = _sketch(own)
        near = [] if index < num_kept else sorted(cast("list[int]", lsh.query(sketch)))
        first = _first_like(own, near, shingles, threshold)
        if first is None:
            lsh.insert(index, sketch)
        else:
            repeats[index] = first
    return repeats


def _first_like(
    own: Shingles, others: Iterable[int], shingles: Mapping[int, Shingles], threshold: float
) -> int | None:
    size = len(own)
    for index in others:
        other = shingles[index]
        # Sizes this far apart cannot reach the threshold; the test is cheaper than the intersection.
        alike_in_size = len(other) * threshold <= size and size * threshold <= len(other)
        if alike_in_size and jaccard(own, other) >= threshold:
            return index
    return None


def _bands(threshold: float) -> tuple[int, int]:
    """Bands and rows of the MinHash table: the most rows that still miss no pair at the threshold."""
    for rows in (16, 8, 4, 2):
        bands = _NUM_PERMUTATIONS // rows
        if (1 - threshold**rows) ** bands < _MAX_MISS:
            return bands, rows
    return _NUM_PERMUTATIONS, 1


def _sketch(shingles: Shingles) -> "MinHash":
    from datasketch import MinHash

    sketch = MinHash(num_perm=_NUM_PERMUTATIONS, seed=1)
    sketch.update_batch([" ".join(shingle).encode("utf-8", "surrogatepass") for shingle in shingles])
    return sketch
