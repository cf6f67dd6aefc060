"""A whole training in the calling process: one worker on CPU, no Ray Train, the same loop."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metamath_ray.dataset_rows import DatasetRow
from metamath_ray.run_folder import open_run_folder, write_whole
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._prepare import prepare_data
from metamath_ray.training._schedule import StepPlan
from metamath_ray.training._summary import summarise
from metamath_ray.training._template import Compat
from metamath_ray.training._trainer import identity_of_run, is_finished

_ROWS_AT_ONCE = 16_384


def train_in_process(options: TrainOptions) -> Path:
    """Train as the options say, in `options.output`, and give the path of its `summary.json`.

    As `train`, with one worker on CPU that is this process: for small students, where starting workers takes longer
    than training. Goes on from the newest checkpoint, of which one is kept. Raises `ValueError` for bad data, options
    or a folder of another run, and where training diverges.
    """
    device = options.device.model_copy(update={"kind": "cpu"})
    options = options.model_copy(update={"device": device, "num_workers": 1}).with_absolute_paths()
    config = options.model_dump(mode="json")
    with open_run_folder(options.output, config, identity=identity_of_run, option="--output") as output:
        plan = StepPlan.make(len(prepare_data(options, output / "data")), options)
        if not is_finished(output, plan):
            _train(options, output)
        summary = json.dumps(summarise(options, output), indent=2) + "\n"
        return write_whole(output / "summary.json", summary)


def count_row_tokens(rows: Sequence[tuple[str, str]], *, model: str, compat: Compat = "fixed") -> list[int]:
    """Tokens of each (query, response) as it is trained on: prompt, response and end, before any cut."""
    from metamath_ray.training._tokenize import tokenise_rows

    counts: list[int] = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = [DatasetRow("", "", *texts) for texts in rows[start : start + _ROWS_AT_ONCE]]
        documents = tokenise_rows(block, model=model, compat=compat)
        counts += documents.lengths.tolist()
    return counts


def _train(options: TrainOptions, output: Path) -> None:
    from metamath_ray.training._export import export_model
    from metamath_ray.training._loop import train_loop
    from metamath_ray.training._session import LocalSession

    def export(weights: dict[str, Any]) -> None:
        export_model(weights, options=options, output=output, record=summarise(options, output))

    _join_group_of_one()
    session: Any = LocalSession(output / "checkpoints")
    train_loop(session, options, output, export)


def _join_group_of_one() -> None:
    """A process group without port or file: two trainings on one machine can't meet in it.

    The process keeps it: DeepSpeed goes on with the groups of its first engine.
    """
    from torch import distributed

    if not distributed.is_initialized():
        os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed asks for it where there is a group
        store = distributed.HashStore()  # type: ignore[attr-defined]  # not in its __all__
        distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
