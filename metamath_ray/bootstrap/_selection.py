"""From accepted reasoning paths to training rows: the gate, duplicates, and seeded sampling to targets.

The result depends on the set of candidates and the rules alone, not on the order in which they come. Each row
has a priority, SHA-256 of the rules' seed and the row's id; wherever one of several has to stay, the smallest
priority stays, and the selected rows come out in the order of priority, which is a seeded shuffle.
"""

import hashlib
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import get_args

from metamath_ray.bootstrap._contamination import ContaminationHit
from metamath_ray.bootstrap._duplicates import (
    digest_texts,
    find_near_duplicates,
    normalise_path,
    normalise_text,
)
from metamath_ray.bootstrap._selection_records import (
    NUM_EXAMPLES,
    DroppedExample,
    DropReason,
    Selection,
    SelectionCandidate,
    SelectionRules,
    row_id,
)


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A candidate on its way: the texts stay in the candidate, beside it are 80 bytes of digests."""

    priority: bytes
    question_key: bytes
    candidate: SelectionCandidate


_Groups = dict[bytes, list[_Entry]]


class _Drops:
    """Counts every drop and remembers the few of the smallest priority."""

    def __init__(self) -> None:
        self._counts: dict[DropReason, dict[str, int]] = {reason: {} for reason in get_args(DropReason)}
        self._examples: dict[DropReason, list[tuple[bytes, DroppedExample]]] = defaultdict(list)

    def add(self, reason: DropReason, entry: _Entry, *, against: str = "") -> None:
        counts = self._counts[reason]
        candidate = entry.candidate
        counts[candidate.type] = counts.get(candidate.type, 0) + 1
        examples = self._examples[reason]
        if len(examples) == NUM_EXAMPLES and entry.priority >= examples[-1][0]:
            return
        example = DroppedExample(
            row_id(candidate), candidate.type, candidate.question, candidate.response, against
        )
        insort(examples, (entry.priority, example))
        del examples[NUM_EXAMPLES:]

    def counts(self) -> dict[DropReason, dict[str, int]]:
        return {reason: dict(sorted(counts.items())) for reason, counts in self._counts.items()}

    def examples(self) -> dict[DropReason, list[DroppedExample]]:
        return {reason: [ex for _, ex in self._examples[reason]] for reason in get_args(DropReason)}


@dataclass(frozen=True, slots=True)
class Survivors:
    """The candidates that may be rows, and what became of the others; targets are still to be drawn to."""

    entries: list[_Entry]
    drops: _Drops

    def count_by_question(self) -> Counter[str]:
        """How many there are of each question, by its id."""
        return Counter(entry.candidate.question_id for entry in self.entries)

    def count(self) -> Counter[tuple[str, str]]:
        """How many there are of each source and augmentation."""
        return Counter((entry.candidate.source, entry.candidate.augmentation) for entry in self.entries)


def select_rows(candidates: Iterable[SelectionCandidate], rules: SelectionRules) -> Selection:
    """The training rows among the candidates; selecting from the selected rows gives them again."""
    return sample_rows(find_survivors(candidates, rules), rules)


def find_survivors(candidates: Iterable[SelectionCandidate], rules: SelectionRules) -> Survivors:
    """The candidates that every rule but the targets lets through.

    In this order: the contamination gate (a hit of the seed's question drops all that derives from it), one
    row for each normalised pair of question and path, near-duplicate rephrasings of a seed (and of the seed
    itself), near-duplicate paths of a question. `candidates` is read once; what the first two rules drop is
    not held, so that a generator over files saves memory.
    """
    drops = _Drops()
    entries = _drop_exact_duplicates(_pass_gate(candidates, rules, drops), drops)
    if rules.near_duplicate_threshold is not None:
        entries = _drop_near_questions(entries, rules.near_duplicate_threshold, rules.seed, drops)
        entries = _drop_near_paths(entries, rules.near_duplicate_threshold, drops)
    return Survivors(entries, drops)


def sample_rows(survivors: Survivors, rules: SelectionRules) -> Selection:
    """At most the target of each `(source, augmentation)`, in the final order; a cell without one has no limit.

    Adds what it drops to the survivors' drops: they are drawn from once.
    """
    drops = survivors.drops
    entries = _sample_to_targets(survivors.entries, rules.targets, drops)
    entries.sort(key=_by_priority)
    rows = [entry.candidate for entry in entries]
    return Selection(rows=rows, dropped=drops.counts(), examples=drops.examples())


def _pass_gate(
    candidates: Iterable[SelectionCandidate], rules: SelectionRules, drops: _Drops
) -> Iterable[_Entry]:
    """The candidates that share nothing with a benchmark, each text looked up once."""
    looked_up: dict[bytes, ContaminationHit | None] = {}
    for candidate in candidates:
        entry = _make_entry(candidate, rules.seed)
        hit = None
        for text in (candidate.original_question, candidate.question):
            if hit is None and rules.contamination is not None:
                key = digest_texts(text)
                if key not in looked_up:
                    looked_up[key] = rules.contamination.hit(text)
                hit = looked_up[key]
        if hit is None:
            yield entry
        else:
            drops.add("contaminated", entry, against=f"{hit.benchmark}[{hit.row}]: {hit.gram}")


def _make_entry(candidate: SelectionCandidate, seed: int) -> _Entry:
    priority = hashlib.sha256(f"{seed}\n{row_id(candidate)}".encode()).digest()[:16]
    return _Entry(priority, digest_texts(normalise_text(candidate.question)), candidate)


def _by_priority(entry: _Entry) -> tuple[bytes, str, str]:
    # Two rows can share an id when one question comes from two runs' ledgers: then their texts decide.
    return entry.priority, entry.candidate.question, entry.candidate.response


def _drop_exact_duplicates(entries: Iterable[_Entry], drops: _Drops) -> list[_Entry]:
    kept: dict[bytes, _Entry] = {}
    for entry in entries:
        path = normalise_path(entry.candidate.response).encode("utf-8", "surrogatepass")
        key = hashlib.blake2b(entry.question_key + path, digest_size=16).digest()
        other = kept.setdefault(key, entry)
        if other is entry:
            continue
        stays, goes = sorted((other, entry), key=_by_priority)
        kept[key] = stays
        drops.add("exact_duplicate", goes)
    return list(kept.values())


def _drop_near_questions(entries: list[_Entry], threshold: float, seed: int, drops: _Drops) -> list[_Entry]:
    """Drop all rows of a rephrasing that repeats its seed, or another rephrasing of it."""
    kept = [entry for entry in entries if entry.candidate.augmentation != "rephrasing"]
    rephrased = (entry for entry in entries if entry.candidate.augmentation == "rephrasing")
    for group in _group(rephrased, by=lambda entry: digest_texts(entry.candidate.seed_id)).values():
        questions = _group(group, by=lambda entry: entry.question_key)
        salt = str(seed).encode()
        keys = sorted(questions, key=lambda key: hashlib.sha256(salt + key).digest())
        repeats = find_near_duplicates(
            [min(questions[key], key=_by_priority).candidate.question for key in keys],
            threshold=threshold,
            kept=sorted({entry.candidate.original_question for entry in group}),
        )
        for index, key in enumerate(keys):
            if index not in repeats:
                kept += questions[key]
                continue
            for entry in questions[key]:
                drops.add("near_duplicate_question", entry, against=repeats[index])
    return kept


def _drop_near_paths(entries: list[_Entry], threshold: float, drops: _Drops) -> list[_Entry]:
    kept: list[_Entry] = []
    for group in _group(entries, by=lambda entry: entry.question_key).values():
        if len(group) == 1:
            kept += group
            continue
        group.sort(key=_by_priority)
        paths = [normalise_path(entry.candidate.response) for entry in group]
        repeats = find_near_duplicates(paths, threshold=threshold)
        for index, entry in enumerate(group):
            if index in repeats:
                drops.add("near_duplicate_path", entry, against=repeats[index])
            else:
                kept.append(entry)
    return kept


def _sample_to_targets(
    entries: list[_Entry], targets: Mapping[tuple[str, str], int], drops: _Drops
) -> list[_Entry]:
    """At most the target of each cell: first one row of each question, then a second, and so on.

    Breadth first because rows of new questions teach more than more paths of the old (PAPER: 20K further
    answer-augmentation rows gain 0.1 points).
    """
    kept: list[_Entry] = []
    cells: dict[tuple[str, str], list[_Entry]] = defaultdict(list)
    for entry in entries:
        cells[entry.candidate.source, entry.candidate.augmentation].append(entry)
    for cell, members in cells.items():
        target = targets.get(cell)
        if target is None or len(members) <= target:
            kept += members
            continue
        ranked: list[tuple[int, _Entry]] = []
        for group in _group(members, by=lambda entry: entry.question_key).values():
            ranked += enumerate(sorted(group, key=_by_priority))
        ranked.sort(key=_by_rank)
        kept += (entry for _, entry in ranked[:target])
        for _, entry in ranked[target:]:
            drops.add("over_target", entry)
    return kept


def _by_rank(ranked: tuple[int, _Entry]) -> tuple[int, bytes, str, str]:
    return ranked[0], *_by_priority(ranked[1])


def _group(entries: Iterable[_Entry], *, by: Callable[[_Entry], bytes]) -> _Groups:
    groups: _Groups = defaultdict(list)
    for entry in entries:
        groups[by(entry)].append(entry)
    return groups
