import lzma
from pathlib import Path

import pytest

from metamath_ray.bootstrap import BuildOptions, forecast_build, load_prompts, load_seeds, read_ledgers
from metamath_ray.bootstrap._pipeline import Questioner, plan_table
from metamath_ray.bootstrap._plan import Planner, group_by_seed
from metamath_ray.problems import Problem
from metamath_ray.teacher import Reply, request_keys
from metamath_ray.teacher._segments import encode_record

SEED = Problem("s0", "own", "gsm", "Ana has 30 pens. She buys 40 more. How many pens has she now?", "70")
PROMPTS = load_prompts()


def options_for(tmp_path: Path, augmentation: str) -> BuildOptions:
    stored = tmp_path / "stored.xz"
    return BuildOptions(
        run_dir=tmp_path / "run", seeds=("own:x",), ledger=(stored,), augmentations=(augmentation,)
    )


def store_first_call(options: BuildOptions, text: str, num_samples: int) -> None:
    """A ledger with replies to the seed's first call and to nothing else."""
    plan = plan_table([SEED], group_by_seed(Planner([SEED], options).next_round({})))
    request = Questioner(PROMPTS, options).request(plan.to_pylist()[0])
    keys = request_keys(request, options.teacher)[:num_samples] if request is not None else []
    with lzma.open(options.ledger[0], "wb") as file:
        for sample, key in enumerate(keys):
            file.write(encode_record(Reply(key, text, "stop", 9, 9, "m", sample), {}))


def load_of(options: BuildOptions) -> tuple[int, int]:
    with read_ledgers(options) as ledger:
        forecast = forecast_build([SEED], PROMPTS, options, ledger)
    return forecast.planned.samples, forecast.left.samples


def test_the_bundled_ledger_leaves_nothing_to_send(tmp_path: Path) -> None:
    options = BuildOptions(run_dir=tmp_path / "run")
    with read_ledgers(options) as ledger:
        forecast = forecast_build(load_seeds(options).problems, PROMPTS, options, ledger)
    assert forecast.left.requests == forecast.left.samples == 0
    assert forecast.stored == forecast.planned.samples == 2608  # what a build's `calls_reused` says
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "num_stored", "planned", "left"),
    [
        pytest.param("", 0, 3, 3, id="nothing-stored"),
        pytest.param(
            "Ana buys 40 pens and owned 30. What number of pens does she hold?", 1, 3, 2, id="usable"
        ),
        pytest.param("Sorry.", 1, 1, 0, id="unusable-has-no-paths"),
    ],
)
def test_a_stored_rephrasing_is_followed(
    tmp_path: Path, text: str, num_stored: int, planned: int, left: int
) -> None:
    options = options_for(tmp_path, "rephrasing")
    store_first_call(options, text, num_stored)
    assert load_of(options) == (planned, left)


@pytest.mark.parametrize(("num_stored", "left"), [(0, 4), (1, 3), (2, 2)])
def test_a_statement_that_is_partly_stored_leaves_its_paths_open(
    tmp_path: Path, num_stored: int, left: int
) -> None:
    options = options_for(tmp_path, "self_verification")
    store_first_call(options, "Ana has 70 pens now.", num_stored)
    assert load_of(options) == (4, left)


def test_open_rephrasings_of_one_seed_are_counted_each(tmp_path: Path) -> None:
    options = BuildOptions(
        run_dir=tmp_path, seeds=("own:x",), augmentations=("rephrasing",), rephrasings_per_seed=3
    )
    assert load_of(options) == (3 + 3 * 2, 3 + 3 * 2)
