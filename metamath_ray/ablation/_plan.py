"""From options to trials: everything is read and checked here, before anything is trained."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

from metamath_ray.ablation._dev import DEV, cut_dev, load_seed_problems
from metamath_ray.ablation._mixes import Mix, load_mixes, resolve_mixes
from metamath_ray.ablation._options import AblationOptions
from metamath_ray.ablation._outcomes import MixInfo
from metamath_ray.ablation._pool import Pool, load_pool
from metamath_ray.ablation._records import load_record
from metamath_ray.ablation._sampling import MixSample, sample_mixes
from metamath_ray.ablation._tokens import measure_pool
from metamath_ray.evaluation import load_benchmarks, load_prompt, resolve_model
from metamath_ray.problems import Problem
from metamath_ray.training import check_training


@dataclass(frozen=True)
class AblationPlan:
    """Mixes with their rows under every seed, and the dev problems; nothing is started or written yet.

    `options` have absolute paths. `notes` are worth knowing before the start, a line each.
    """

    options: AblationOptions
    mixes: tuple[Mix, ...]
    samples: tuple[MixSample, ...]
    dev: tuple[Problem, ...]
    pool: Pool
    notes: tuple[str, ...]

    @property
    def tests(self) -> tuple[str, ...]:
        """Names of the test sets."""
        return tuple(spec.partition(":")[0] for spec in self.options.evaluation.benchmarks)

    @property
    def splits(self) -> dict[str, str]:
        """`dev` or `test` by benchmark."""
        return {**({DEV: "dev"} if self.dev else {}), **dict.fromkeys(self.tests, "test")}

    def first_benchmarks(self) -> tuple[str, ...]:
        """What every trial is evaluated on before any mix is chosen."""
        dev = (DEV,) if self.dev else ()
        return (*dev, *self.tests) if self.options.choose == "all" else dev

    def infos(self) -> tuple[MixInfo, ...]:
        """What each mix holds, the mean over its seeds."""
        return tuple(_info(mix, self.samples) for mix in self.mixes)


def plan_ablation(options: AblationOptions) -> AblationPlan:
    """Read the rows, cut the dev problems, make the mixes, and look at student, test sets and machine.

    Raises `ValueError` (`PreflightError` with several lines), `FileNotFoundError` and `ModuleNotFoundError` for what
    the user has to mend.
    """
    options = _with_absolute_paths(options)
    sources = load_mixes(options.mixes)
    training = options.train_options(data=options.data, output=options.output)
    notes = check_training(training)
    _check_evaluation(options)
    problems = load_seed_problems(options.data, options.problems)
    dev = cut_dev(problems, options.dev_problems, seed=options.seed)
    if options.choose == "best" and not dev:
        raise ValueError(
            "choose best needs dev problems: name the seeds with --problems, or give --choose all"
        )
    types = frozenset[str]().union(*(source.types for source in sources))
    pool = load_pool(options.data, types, problems=problems, dev=dev)
    whole = measure_pool(pool, types, training)
    mixes = resolve_mixes(sources, Pool({**pool.groups, **whole.groups}, {**pool.dropped, **whole.dropped}))
    samples = sample_mixes(mixes, whole, seeds=options.all_seeds, equal=options.equal, size=options.size)
    return AblationPlan(options, mixes, samples, dev, whole, (*notes, *_notes_on(pool, dev)))


def describe_plan(plan: AblationPlan) -> list[str]:
    """Lines for a person: the mixes, what was left out, the trials and what is left of them."""
    options = plan.options
    lines = [f"mix {info.name}: {_describe(info)}" for info in plan.infos()]
    for group, dropped in plan.pool.dropped.items():
        if dropped:
            lines.append(f"left out of {group}: {', '.join(f'{n} {why}' for why, n in dropped.items())}")
    left = [sample for sample in plan.samples if load_record(options.output, sample) is None]
    lines += [
        f"dev problems: {len(plan.dev)} of the seeds, held out of training",
        f"test sets: {', '.join(plan.tests)}, for {_chosen(options)}",
        f"trials: {len(plan.samples)} ({len(plan.mixes)} mixes x {options.seeds} seeds), {len(left)} left to run, "
        f"{options.concurrent_trials} at a time",
    ]
    return [*lines, *(f"note: {note}" for note in plan.notes)]


def _chosen(options: AblationOptions) -> str:
    return "all mixes" if options.choose == "all" else "the mix that is best on the dev problems, in the end"


def _describe(info: MixInfo) -> str:
    types = ", ".join(f"{kind} {rows:,}" for kind, rows in info.by_type.items())
    return f"{info.rows:,} rows, {info.tokens:,} tokens ({types})"


def _info(mix: Mix, samples: tuple[MixSample, ...]) -> MixInfo:
    mine = [sample for sample in samples if sample.mix == mix.name]
    kinds = sorted({kind for sample in mine for kind in sample.by_type()})
    by_type = {kind: round(fmean(sample.by_type().get(kind, 0) for sample in mine)) for kind in kinds}
    rows, tokens = fmean(len(sample.rows) for sample in mine), fmean(sample.tokens for sample in mine)
    return MixInfo(mix.name, round(rows), round(tokens), by_type)


def _check_evaluation(options: AblationOptions) -> None:
    load_benchmarks(options.evaluation.benchmarks, limit=options.evaluation.limit)
    load_prompt(options.evaluation.prompt)
    if options.evaluation.engine == "vllm":
        resolve_model(options.model)
    elif find_spec("transformers") is None:
        raise ModuleNotFoundError("transformers is not installed; pip install transformers")


def _notes_on(pool: Pool, dev: tuple[Problem, ...]) -> Iterator[str]:
    if not dev:
        yield "no dev problems: mixes are compared on the test sets only"
        return
    for group, rows in pool.groups.items():
        if rows and not any(row.seed_id or row.original_question for row in rows):
            yield (
                f"rows of {group} name no seed problem: of the dev problems' rows only those that ask their very "
                "questions are left out"
            )


def _with_absolute_paths(options: AblationOptions) -> AblationOptions:
    """The same seen from Ray's workers, which have working directories of their own."""
    training = options.train_options(data=options.data).with_absolute_paths()
    evaluation = options.evaluation
    prompt = Path(evaluation.prompt).expanduser()
    update = {
        "data": training.data,
        "model": training.model,
        "output": options.output.expanduser().resolve(),
        "evaluation": evaluation.model_copy(
            update={
                "benchmarks": tuple(map(_absolute_spec, evaluation.benchmarks)),
                "prompt": str(prompt.resolve()) if prompt.is_file() else evaluation.prompt,
            }
        ),
        "problems": tuple(map(_absolute_spec, options.problems)),
    }
    return options.model_copy(update=update)


def _absolute_spec(spec: str) -> str:
    name, colon, path = spec.partition(":")
    return f"{name}:{Path(path).expanduser().resolve()}" if colon and path else spec
