"""Dev problems cut from the seeds, so that mixes can be compared without a look at the test sets."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from metamath_ray.problems import Problem, load_problems
from metamath_ray.run_folder import CONFIG_FILE, write_whole

DEV = "dev"
"""The benchmark that the dev problems are."""

_SHARE = 10
_MOST = 500


def load_seed_problems(data: str, given: Sequence[str]) -> tuple[Problem, ...]:
    """The problems that `given` names (`NAME[:PATH]`), or those that the run directory `data` was built from.

    Of two with one question the first stays, and so it does with ids. Empty where neither says. Raises `ValueError`
    where the run directory's seeds are not there any more.
    """
    specs, limit = (list(given), None) if given else _read_seeds(Path(data).expanduser())
    problems: dict[str, Problem] = {}
    by_id: dict[str, Problem] = {}
    for spec in specs:
        try:
            loaded = load_problems(spec, skip_bad_rows=not given).problems[:limit]
        except FileNotFoundError as error:
            if given:
                raise
            raise ValueError(f"{error}; it was built from: name the seed problems with --problems") from None
        for problem in loaded:
            problems.setdefault(" ".join(problem.question.split()), problem)
    for problem in problems.values():
        by_id.setdefault(problem.id, problem)
    return tuple(by_id.values())


def cut_dev(problems: Sequence[Problem], count: int | None, *, seed: int) -> tuple[Problem, ...]:
    """`count` of the problems (None: a tenth, 500 at most) by a seeded hash of their ids, whatever their order.

    Raises `ValueError` where that would leave none to train on.
    """
    wanted = min(len(problems) // _SHARE, _MOST) if count is None else count
    if wanted and not problems:
        raise ValueError(
            "dev problems are cut from the seeds, and the data names none; name the seeds with --problems"
        )
    if wanted and wanted >= len(problems):
        raise ValueError(
            f"dev_problems must be fewer than the {len(problems)} seed problems, got {wanted}; "
            "name more seeds with --problems, or give --dev-problems 0"
        )
    return tuple(sorted(problems, key=lambda problem: _rank(problem, seed))[:wanted])


def write_dev(problems: Sequence[Problem], path: Path) -> Path:
    """The problems as a file that evaluations read, each in its own format, so that it reads back as it is."""
    lines = (json.dumps(_record(problem), ensure_ascii=False) for problem in problems)
    return write_whole(path, "".join(f"{line}\n" for line in lines))


def _record(problem: Problem) -> dict[str, Any]:
    if problem.subject or "\\boxed" in problem.solution:
        kinds = {"level": problem.level, "type": problem.subject}
        return {"id": problem.id, "problem": problem.question, "solution": problem.solution, **kinds}
    if problem.style == "gsm":
        return {"id": problem.id, "question": problem.question, "answer": f"#### {problem.answer}"}
    return {
        "id": problem.id,
        "question": problem.question,
        "answer": problem.answer,
        "solution": problem.solution,
    }


def _rank(problem: Problem, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{problem.id}".encode()).digest()


def _read_seeds(folder: Path) -> tuple[list[str], int | None]:
    try:
        config = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (
        OSError,
        yaml.YAMLError,
        UnicodeDecodeError,
    ):  # a file, or a folder without; mixes say what they miss
        return [], None
    if not isinstance(config, dict) or not isinstance(config.get("seeds"), list):
        return [], None
    return [str(spec) for spec in config["seeds"]], config.get("limit_seeds")
