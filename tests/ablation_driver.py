"""The driver of an ablation whose trials are doubles: quick, but they take CPUs from Ray as real ones do.

    python tests/ablation_driver.py OUTPUT NUM_CPUS CONCURRENT

Two mixes, four seeds. A trial's worker asks for a placement group of one CPU, as Ray Train's do, and the trial waits
for it. Lines `started NAME` and `done NAME` tell of it. While a file `hold` lies beside OUTPUT, only as many trials end
as there are files `token-*` beside it; each takes one, the others wait. A file `fail-NAME` fails that trial. The last line counts what Ray still holds: placement groups, actors and CPUs.
"""

import logging
import sys
import time
from pathlib import Path

import ray
from ray.util import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from metamath_ray.ablation import (
    AblationOptions,
    AblationPlan,
    Mix,
    MixRow,
    Outcome,
    Pool,
    TrialProgress,
    TrialRecord,
    TrialsFailedError,
    TrialTask,
    run_ablation,
    sample_mixes,
    write_record,
)


def run_double(task: TrialTask) -> None:
    folder = Path(task.folder)
    output = folder.parents[1]
    group = placement_group([{"CPU": 1}])
    ray.get(group.ready())
    place = PlacementGroupSchedulingStrategy(placement_group=group)
    score = ray.remote(num_cpus=1)(lambda: len(task.mix) * (task.seed + 2))
    right = ray.get(score.options(scheduling_strategy=place).remote())
    remove_placement_group(group)
    wait_for_leave(output.parent)
    if (output.parent / f"fail-{task.name}").exists():
        raise OSError("the disk is full")
    ids = tuple(f"p{i}" for i in range(20))
    outcomes = {
        name: Outcome(task.mix, task.seed, name, ids, tuple(i < right for i in range(20)))
        for name in task.benchmarks
    }
    write_record(folder, TrialRecord(task.mix, task.seed, task.rows_sha256, outcomes, {}, {}))


def wait_for_leave(place: Path) -> None:
    while (place / "hold").exists():
        for token in place.glob("token-*"):
            try:
                token.unlink()
                return
            except FileNotFoundError:  # another trial has it
                continue
        time.sleep(0.05)


def make_plan(output: Path, concurrent: int) -> AblationPlan:
    options = AblationOptions(
        data="rows.json",
        model="student",
        output=output,
        seeds=4,
        choose="all",
        dev_problems=0,
        concurrent_trials=concurrent,
        training={"num_workers": 0},
    )
    rows = tuple(MixRow(f"r{i}", "G_SV", f"q{i}", "r\nThe answer is: 1", tokens=9) for i in range(30))
    mixes = (Mix("A", (("SV", 10),)), Mix("A+R", (("SV", 20),)))
    pool = Pool({"G_SV": rows}, {"G_SV": {}})
    return AblationPlan(options, mixes, sample_mixes(mixes, pool, seeds=options.all_seeds), (), pool, ())


def show(progress: TrialProgress) -> None:
    print(progress.event, progress.name, flush=True)


def count_left(num_cpus: int) -> str:
    while ray.available_resources().get("CPU", 0) < num_cpus:
        time.sleep(0.1)  # for the last worker's lease to end; the test's time limit ends the wait
    groups = [group for group in placement_group_table().values() if group["state"] != "REMOVED"]
    actors = [actor for actor in ray._private.state.actors().values() if actor["State"] != "DEAD"]
    return f"left {len(groups)} groups {len(actors)} actors {ray.available_resources()['CPU']:.0f} CPUs"


def main(output: Path, num_cpus: int, concurrent: int) -> None:
    ray.init(
        address="local",
        num_cpus=num_cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        last = str(run_ablation(make_plan(output, concurrent), run=run_double, on_progress=show))
    except TrialsFailedError as error:
        last = f"failed: {error}"
    print(count_left(num_cpus))
    print(last)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
