"""The contamination gate: which questions share wording with a benchmark that the student will be judged on.

Two forms of a text are compared, both case-folded and without Asymptote drawings: its words as they are,
cut as finely as any usual tokeniser cuts them, and its words with every number, in digits or in letters,
put to `#`. A text is hit when 13 words in a row, in one of the forms, occur in a benchmark question; a text
of fewer words when the whole of it is a benchmark question.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

GRAM_WORDS = 13
"""Length of a shared run of words that makes a hit, as in the contamination studies of GPT-3 and Llama."""

MIN_MASKED_WORDS = 6
"""Words of language that a number-masked run must hold to count as evidence.

Masked formulas (`# x # x # x #`, `begin pmatrix # #`) are the same in unrelated problems. Of 20 MATH train
problems that met MATH test in such runs only, 3 were the same problem with other numbers; of 20 that met it
in a masked run with at least six words, 12 were. Exact runs have no such bound, though half of 20 on MATH were
stock phrases ("m and n are relatively prime positive integers"): a shared 13-gram is a hit by definition.
"""

TEMPLATE_SENTENCES = (
    "If we know the answer to the above question is {answer}, what is the value of unknown variable x?",
    "If we know the answer of the above question is {answer}, what is the value of unknown variable x?",
    "What is the value of unknown variable x?",
)
"""What our backward questions, and GSM8K-Backward's, all end with; `{answer}` stands for any text."""

Form = Literal["exact", "masked"]
"""Which form of the text was shared: as it is, or with its numbers put to `#`."""

_PREFIX_BITS = 22
_PREFIX_SHIFT = np.uint64(64 - _PREFIX_BITS)
_Hashes = npt.NDArray[np.uint64]

_NUMBER_WORD_PATTERN = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|"
    "seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|"
    "million|billion|dozen"
)
_NUMBER_WORDS = frozenset(_NUMBER_WORD_PATTERN.split("|"))
_DRAWING = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
_FINE = re.compile(r"[^\W\d_]+|\d+")
_COARSE = re.compile(r"\d+(?:[.,]\d+)*|\.\d+|[^\W\d_]+")
_COMMAND = re.compile(r"\\[^\W\d_]+")
_ANY_NUMBER = re.compile(rf"\d+(?:[.,]\d+)*|\.\d+|\b(?:{_NUMBER_WORD_PATTERN})\b")
_INVISIBLE = re.compile(r"[\s$]+|\\[!,;: ]")
# Odd multipliers keep each term of the sum a bijection of its word: no information falls out at 2**64.
_POWERS = np.cumprod(np.full(GRAM_WORDS, 0x9E3779B97F4A7C15, dtype=np.uint64), dtype=np.uint64)
_SALTS: dict[Form, np.uint64] = {"exact": np.uint64(0x51A7E2D3), "masked": np.uint64(0xC0FFEE5EED << 16)}


@dataclass(frozen=True, slots=True)
class ContaminationHit:
    """What a question shares with a benchmark: the set's name, the row in it from 0, and the shared words."""

    benchmark: str
    row: int
    gram: str
    form: Form


class _Words(NamedTuple):
    """One form of a text: its words, and which of them are language (no number, symbol, or LaTeX command)."""

    words: list[str]
    is_language: npt.NDArray[np.int64]


class ContaminationIndex:
    """Where every 13-word run of the benchmarks comes from: a sorted array of 64-bit hashes and their rows.

    12 bytes a run and a table of 4 MB in front: 8 MB for GSM8K test, MATH test and GSM8K-Backward. It can
    be pickled. Two runs fall
    on one hash with a chance of 1e-5 for a whole build, so that hits are not checked against the text.
    """

    def __init__(
        self,
        *,
        hashes: _Hashes,
        owners: npt.NDArray[np.uint32],
        sets: Sequence[tuple[str, int]],
        templates: re.Pattern[str],
    ) -> None:
        self._hashes = hashes
        self._owners = owners
        self._sets = tuple(sets)
        self._templates = templates
        self._prefixes = np.zeros(1 << _PREFIX_BITS, dtype=np.bool_)
        self._prefixes[hashes >> _PREFIX_SHIFT] = True

    @classmethod
    def from_questions(
        cls,
        names_to_questions: Mapping[str, Iterable[str]],
        *,
        template_sentences: Sequence[str] = TEMPLATE_SENTENCES,
    ) -> "ContaminationIndex":
        """Index the benchmarks' questions without the template sentences; a run's first row owns it."""
        templates = _compile_templates(template_sentences)
        hashes = [np.empty(0, dtype=np.uint64)]
        sizes: list[int] = []
        sets: list[tuple[str, int]] = []
        for name, questions in names_to_questions.items():
            before = len(sizes)
            for question in questions:
                keys = [keys for _, keys, _ in _keys_of(question, templates)]
                hashes += keys
                sizes.append(sum(map(len, keys)))
            sets.append((name, len(sizes) - before))
        owners = np.repeat(np.arange(len(sizes), dtype=np.uint32), sizes)
        unique, first = np.unique(np.concatenate(hashes), return_index=True)
        return cls(hashes=unique, owners=owners[first], sets=sets, templates=templates)

    def __len__(self) -> int:
        """Runs and whole short questions indexed, both forms together."""
        return len(self._hashes)

    def hit(self, question: str) -> ContaminationHit | None:
        """The first shared run, the exact form before the masked one; None where nothing is shared."""
        for form, keys, grams in _keys_of(question, self._templates):
            # The table in front is there for speed: the search in the sorted array misses every cache.
            for index in np.flatnonzero(self._prefixes[keys >> _PREFIX_SHIFT]):
                place = int(np.searchsorted(self._hashes, keys[index]))
                if place < len(self._hashes) and self._hashes[place] == keys[index]:
                    benchmark, row = self._locate(int(self._owners[place]))
                    return ContaminationHit(benchmark, row, grams[int(index)], form)
        return None

    def _locate(self, owner: int) -> tuple[str, int]:
        for name, size in self._sets:
            if owner < size:
                return name, owner
            owner -= size
        raise AssertionError(f"no benchmark row for owner {owner}")


class _Grams:
    """The text behind each key of one form, made only for the key that hit."""

    def __init__(self, words: list[str], kept: npt.NDArray[np.int64] | None) -> None:
        self._words = words
        self._kept = kept

    def __getitem__(self, index: int) -> str:
        if self._kept is None:
            return " ".join(self._words)
        start = int(self._kept[index])
        return " ".join(self._words[start : start + GRAM_WORDS])


def _keys_of(question: str, templates: re.Pattern[str]) -> Iterator[tuple[Form, _Hashes, _Grams]]:
    """The keys under which a question is stored and looked up, form by form."""
    text = _strip(question, templates)
    exact = _FINE.findall(text)
    if len(exact) >= GRAM_WORDS:
        every = np.arange(len(exact) - GRAM_WORDS + 1)
        yield "exact", _gram_keys(exact, "exact"), _Grams(exact, every)
    elif exact:
        yield "exact", _whole_key(text, "exact"), _Grams(exact, None)
    words, is_language = _mask_words(text)
    if len(words) >= GRAM_WORDS:
        in_gram = np.convolve(is_language, np.ones(GRAM_WORDS, dtype=np.int64), mode="valid")
        kept = np.flatnonzero(in_gram >= MIN_MASKED_WORDS)
        yield "masked", _gram_keys(words, "masked")[kept], _Grams(words, kept)
    elif is_language.sum() >= MIN_MASKED_WORDS:
        yield "masked", _whole_key(_ANY_NUMBER.sub("#", text), "masked"), _Grams(words, None)


def _strip(question: str, templates: re.Pattern[str]) -> str:
    text = unicodedata.normalize("NFKC", question).casefold().replace("\u2019", "'")
    return templates.sub(" ", _DRAWING.sub(" ", text))


def _compile_templates(sentences: Sequence[str]) -> re.Pattern[str]:
    """One pattern for all sentences, the longest first, any white space between their words."""
    folded = sorted((unicodedata.normalize("NFKC", s).casefold() for s in sentences), key=len, reverse=True)
    patterns = [
        r"\s+".join(map(re.escape, sentence.split())).replace(r"\{answer\}", r".{0,300}?")
        for sentence in folded
    ]
    return re.compile("|".join(patterns) if patterns else r"(?!)", re.DOTALL)


def _mask_words(text: str) -> _Words:
    """Words with numbers put to `#`; a number word after a number joins it (`twenty-five`, `2 million`)."""
    commands = {command[1:] for command in _COMMAND.findall(text)}
    words: list[str] = []
    language: list[int] = []
    for word in _COARSE.findall(text):
        if not word.isalpha():
            words.append("#")
        elif word not in _NUMBER_WORDS:
            words.append(word)
        elif not words or words[-1] != "#":
            words.append("#")
        else:
            continue
        language.append(int(words[-1] != "#" and len(word) > 1 and word not in commands))
    return _Words(words, np.array(language, dtype=np.int64))


def _whole_key(text: str, form: Form) -> _Hashes:
    """The key of a whole short text: its symbols count, since few words stand beside them."""
    bare = _INVISIBLE.sub("", text).rstrip(".?!")
    return np.array([_word_hash("whole " + bare)], dtype=np.uint64) ^ _SALTS[form]


def _gram_keys(words: list[str], form: Form) -> _Hashes:
    """A 64-bit hash of every 13 words in a row: the words' hashes times fixed powers, summed."""
    hashes = np.fromiter(map(_word_hash, words), dtype=np.uint64, count=len(words))
    windows = np.lib.stride_tricks.sliding_window_view(hashes, GRAM_WORDS)
    keys: _Hashes = (windows * _POWERS).sum(axis=1, dtype=np.uint64) ^ _SALTS[form]
    return keys


@lru_cache(maxsize=1 << 17)
def _word_hash(word: str) -> int:
    # Python's own hash differs between processes, and the index travels to workers.
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest())
