"""The rows that mixes draw from: a build's, the seeds' own solutions, paths of its candidates, outside files."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metamath_ray.dataset_rows import ANSWER_MARK, UNTYPED, read_dataset_rows, write_published_response
from metamath_ray.problems import Problem
from metamath_ray.released import released_type

SFT, RFT, INCORRECT, FILE = "SFT", "RFT", "incorrect", "file:"
"""Types beside the released ones: published solutions, distinct correct paths, wrong paths; a file's mark."""

_COLUMNS = (
    "question_id",
    "seed_id",
    "source",
    "question",
    "response",
    "sample_index",
    "verdict",
    "extracted",
)
_EQUATION = re.compile(r"[-+*/×÷^().\d\s,$%]*=\s*[-$]*\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True)
class MixRow:
    """A row that can be trained on; `seed_id` and `original_question` are the seed problem's, or empty.

    `tokens` are those of prompt and response under the student's tokenizer, 0 until they are counted.
    """

    row_id: str
    type: str
    query: str
    response: str
    seed_id: str = ""
    original_question: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Pool:
    """Rows by group (a released type, or `file:PATH`), and how many of each group were dropped, by reason."""

    groups: Mapping[str, tuple[MixRow, ...]]
    dropped: Mapping[str, Mapping[str, int]]

    def rows_of(self, name: str) -> tuple[MixRow, ...]:
        """The rows that a mix names: of one group, or of every source's (`AnsAug` is `GSM_AnsAug`, `MATH_AnsAug`)."""
        return tuple(row for group in self.names_of(name) for row in self.groups[group])

    def names_of(self, name: str) -> tuple[str, ...]:
        """The groups that a name stands for, in order; none where it is unknown."""
        return (name,) if name in self.groups else tuple(g for g in self.groups if _short(g) == name)

    def known(self) -> tuple[str, ...]:
        """Every name that a mix may use, short ones first."""
        groups = [group for group in self.groups if not group.startswith(FILE)]
        return (*dict.fromkeys(map(_short, groups)), *groups)


def load_pool(
    data: str,
    names: Iterable[str],
    *,
    problems: Sequence[Problem],
    dev: Sequence[Problem],
) -> Pool:
    """Every row that mixes of these names may draw, without the rows of the dev problems.

    Dropped are blank rows (`blank`), those without an answer tail (`no_answer_tail`), repeated pairs of query and
    response within a group (`duplicate`), and rows of a dev problem (`dev`): by its id where a row names its seed,
    and by its question's text. Raises as `read_dataset_rows` does, and `ValueError` where paths are asked of data
    without candidates.
    """
    wanted = set(names)
    groups: dict[str, list[MixRow]] = {}
    for group, row in _read_all(data, wanted, problems):
        groups.setdefault(group, []).append(row)
    dropped: dict[str, Counter[str]] = {group: Counter() for group in groups}
    is_dev = _DevTest(dev)
    kept = {group: tuple(_tidy(rows, dropped[group], is_dev)) for group, rows in groups.items()}
    return Pool(kept, {group: dict(sorted(counts.items())) for group, counts in dropped.items()})


def normalise_question(text: str) -> str:
    """A question with single blanks: what tells two questions apart."""
    return " ".join(text.split())


def _read_all(data: str, wanted: set[str], problems: Sequence[Problem]) -> Iterator[tuple[str, MixRow]]:
    for row in read_dataset_rows(data):
        fields = (row.query, row.response, row.seed_id, row.original_question)
        yield row.type, MixRow(row.row_id, row.type, *fields)
    for problem in problems:
        kind = released_type(problem.source, SFT)
        response = write_published_response(problem)
        row_id = f"{SFT}/{problem.id}"
        yield kind, MixRow(row_id, kind, problem.question, response, problem.id, problem.question)
    if any(_short(name) in (RFT, INCORRECT) for name in wanted):
        yield from _read_paths(Path(data).expanduser(), {problem.id: problem for problem in problems})
    for name in sorted(name for name in wanted if name.startswith(FILE)):
        yield from _read_file(name)


def _read_file(name: str) -> Iterator[tuple[str, MixRow]]:
    stem = Path(name.removeprefix(FILE)).stem
    for row in read_dataset_rows(name.removeprefix(FILE)):
        kind = stem if row.type == UNTYPED else row.type
        fields = (row.query, row.response, row.seed_id, row.original_question)
        yield name, MixRow(f"{stem}/{row.row_id}", kind, *fields)


def _read_paths(folder: Path, problems: Mapping[str, Problem]) -> Iterator[tuple[str, MixRow]]:
    """The reasoning paths of the seeds' own questions: wrong ones, and of the right ones one for each calculation."""
    from metamath_ray.bootstrap import finish_response

    seen: set[tuple[str, str]] = set()
    for fields in _read_candidates(folder):
        question, is_correct = fields["question"], fields["verdict"] == "correct"
        path = (question, calculation_of(fields["response"]))
        if is_correct and path in seen:
            continue
        if is_correct:
            seen.add(path)
        problem = problems.get(fields["seed_id"])
        style = problem.style if problem else ("math" if fields["source"] == "math" else "gsm")
        answer = problem.answer if problem and is_correct and style == "gsm" else fields["extracted"]
        kind = released_type(fields["source"], RFT if is_correct else INCORRECT)
        row_id = f"{_short(kind)}/{fields['question_id']}/{fields['sample_index']}"
        response = finish_response(fields["response"], answer=answer, style=style)
        yield kind, MixRow(row_id, kind, question, response, fields["seed_id"], question)


def _read_candidates(folder: Path) -> list[dict[str, Any]]:
    parts = sorted((folder / "candidates").glob("*.parquet"))
    if not parts:
        raise ValueError(
            f"{str(folder)!r} holds no candidates/*.parquet: {RFT} and {INCORRECT} rows are drawn from a build's "
            "run directory"
        )
    is_wanted = (pc.field("augmentation") == "answer_augmentation") & pc.field("verdict").isin(
        ["correct", "incorrect"]
    )
    try:
        tables = [pq.read_table(part, columns=list(_COLUMNS), filters=is_wanted) for part in parts]
    except (pa.ArrowInvalid, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder / 'candidates'} holds no readable candidates: {reason}") from None
    rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist()
    return sorted(rows, key=lambda fields: (fields["question_id"], fields["sample_index"]))


def calculation_of(response: str) -> str:
    """What makes a path distinct (as in RFT): its equations in their order; its words where it has none."""
    equations = _EQUATION.findall(response.partition(ANSWER_MARK)[0])
    return "; ".join(re.sub(r"[\s$,]", "", equation) for equation in equations) or normalise_question(
        response
    )


class _DevTest:
    """Whether a row comes from one of some problems."""

    def __init__(self, dev: Sequence[Problem]) -> None:
        self._ids = {problem.id for problem in dev}
        self._questions = {normalise_question(problem.question) for problem in dev}

    def __call__(self, row: MixRow) -> bool:
        if row.seed_id in self._ids:
            return True
        texts = (row.query, row.original_question)
        return any(normalise_question(text) in self._questions for text in texts)


def _tidy(rows: Iterable[MixRow], dropped: Counter[str], is_dev: _DevTest) -> Iterator[MixRow]:
    seen: set[tuple[str, str]] = set()
    for row in rows:
        reason = _complaint(row) or ("dev" if is_dev(row) else "")
        if not reason and (row.query, row.response) in seen:
            reason = "duplicate"
        if reason:
            dropped[reason] += 1
            continue
        seen.add((row.query, row.response))
        yield row


def _complaint(row: MixRow) -> str:
    if not row.query.strip() or not row.response.strip():
        return "blank"
    _, mark, answer = row.response.rpartition(ANSWER_MARK)
    return "" if mark and answer.strip() else "no_answer_tail"


def _short(name: str) -> str:
    return name if name.startswith(FILE) else name.rpartition("_")[2]
