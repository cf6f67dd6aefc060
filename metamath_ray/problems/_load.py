"""Sets of problems by name: the bundled ones, the user's files, the hub's."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from metamath_ray.problems._files import Row, read_rows, rows_from_lines
from metamath_ray.problems._hub import read_hub_rows
from metamath_ray.problems._record import Problem
from metamath_ray.problems._rows import RowError, is_gsm8k_file, problem_from_row
from metamath_ray.problems._spec import BUNDLED, BUNDLED_BACKWARD, BUNDLED_NAMES, SeedSpec, parse_spec

_NUM_SHOWN = 5
_SHIPPED = {
    (BUNDLED, "train"): "train.jsonl",
    (BUNDLED, "test"): "test.jsonl",
    (BUNDLED_BACKWARD, "test"): "backward.jsonl",
}
_TEST_ONLY = (BUNDLED_BACKWARD, "gsm8k_backward")


@dataclass(frozen=True, slots=True)
class LoadedProblems:
    """Problems in file order, how many rows were dropped, and the reason for each.

    The ids are unique; `errors` reads `FILE:LINE: field NAME: reason`, one for each dropped row.
    """

    problems: tuple[Problem, ...]
    num_skipped: int
    errors: tuple[str, ...]


class BadRowsError(ValueError):
    """Rows of a problem file that give no problem; shows the first five, `errors` holds all.

    Survives pickling, so that it can cross processes.
    """

    def __init__(self, errors: tuple[str, ...], num_rows: int) -> None:
        super().__init__(errors, num_rows)
        self.errors = errors
        self.num_rows = num_rows

    def __str__(self) -> str:
        shown = "\n".join(f"  {error}" for error in self.errors[:_NUM_SHOWN])
        more = len(self.errors) - _NUM_SHOWN
        rest = f"\n  and {more} more" if more > 0 else ""
        return f"{len(self.errors)} of {self.num_rows} rows are bad:\n{shown}{rest}"


def load_problems(
    spec: SeedSpec | str, *, skip_bad_rows: bool = False, split: Literal["train", "test"] = "train"
) -> LoadedProblems:
    """Every problem of a set; a file's format is read off each row's fields, never off its name.

    `split` chooses between the halves of a bundled or hub set, and stands in the ids of rows that
    have none. A problem's `source` is the spec's name. Raises `ValueError` for a bad spec, an
    unusable file, and the train half of a set that has none, `FileNotFoundError` for a missing file,
    `ModuleNotFoundError` for a missing `datasets`, and `BadRowsError` where a row is bad and
    `skip_bad_rows` is not set, or no row is good.
    """
    spec = parse_spec(spec) if isinstance(spec, str) else spec
    if spec.path is None and split == "train" and spec.name in _TEST_ONLY:
        raise ValueError(f"problem set {spec.name!r} is a benchmark: it has test problems only")
    if spec.name in BUNDLED_NAMES:
        return LoadedProblems(_load_shipped(_SHIPPED[spec.name, split], source=spec.name, split=split), 0, ())
    if spec.path is None:
        label, rows = read_hub_rows(spec.name, split=split)
    else:
        label, rows = str(spec.path), read_rows(spec.path)
    loaded = _problems_from_rows(rows, label=label, source=spec.name, split=split)
    if loaded.errors and not (skip_bad_rows and loaded.problems):
        raise BadRowsError(loaded.errors, len(rows))
    return loaded


def load_bundled(split: Literal["train", "test"] = "train") -> tuple[Problem, ...]:
    """The word problems that ship with the package, written for it in GSM8K's format.

    Their arithmetic is checked by the tests with `check_worked_arithmetic`.
    """
    return _load_shipped(_SHIPPED[BUNDLED, split], source=BUNDLED, split=split)


def _load_shipped(file: str, *, source: str, split: str) -> tuple[Problem, ...]:
    content = resources.files(__package__).joinpath(BUNDLED, file).read_bytes()
    rows = list(rows_from_lines(content.split(b"\n")))
    loaded = _problems_from_rows(rows, label=file, source=source, split=split)
    if loaded.errors:
        raise BadRowsError(loaded.errors, len(rows))
    return loaded.problems


def _problems_from_rows(rows: Sequence[Row], *, label: str, source: str, split: str) -> LoadedProblems:
    gsm8k_file = is_gsm8k_file(rows)
    problems: list[Problem] = []
    errors: list[str] = []
    line_of_id: dict[str, int] = {}
    for row in rows:
        try:
            problem = problem_from_row(row, source=source, split=split, gsm8k_file=gsm8k_file)
            _claim_id(problem.id, row.line, line_of_id)
        except RowError as error:
            errors.append(f"{label}:{row.line}: {error}")
        else:
            problems.append(problem)
    return LoadedProblems(tuple(problems), len(errors), tuple(errors))


def _claim_id(problem_id: str, line: int, line_of_id: dict[str, int]) -> None:
    first = line_of_id.setdefault(problem_id, line)
    if first != line:
        raise RowError(f"field 'id': {problem_id!r} stands on line {first} too; ids must be unique in a file")
