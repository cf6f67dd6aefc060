"""What a user says of an ablation; one model for YAML, flags and defaults."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from metamath_ray.ablation._dev import DEV
from metamath_ray.ablation._sampling import Equal
from metamath_ray.answers import RuleSet
from metamath_ray.evaluation import PAPER_STOP, EngineOptions, EvaluationOptions
from metamath_ray.training import TrainOptions, recipe_defaults

_TRIALS_OWN = frozenset(
    {"data", "model", "output", "limit_rows", "seed", "plan", "push_to_hub", "watchers", "num_workers"}
)
"""Options of a training that an ablation decides for each trial."""

if TYPE_CHECKING:
    TrialTraining = TrainOptions
else:
    TrialTraining = create_model(
        "TrialTraining",
        __config__=ConfigDict(frozen=True, extra="forbid"),
        __doc__="How each trial trains: the options of train_metamath.py.",
        num_workers=(
            int,
            Field(
                1,
                ge=0,
                le=4096,
                description="training processes of a trial; 0: the trial's own, for small students on CPU",
            ),
        ),
        **{
            name: (field.annotation, field)
            for name, field in TrainOptions.model_fields.items()
            if name not in _TRIALS_OWN
        },
    )


class TrialEvaluation(BaseModel):
    """How each trial is evaluated, as in evaluate_metamath.py."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["vllm", "transformers"] = Field(
        "vllm",
        description="who writes completions: vLLM on Ray Serve, or transformers in the trial's process",
    )
    benchmarks: tuple[str, ...] = Field(
        ("bundled",),
        min_length=1,
        description="test sets, each NAME or NAME:PATH, as evaluate_metamath.py takes them",
    )
    limit: int | None = Field(None, ge=1, description="take N problems of each test set, spread over it")
    grader: RuleSet = Field("fixed", description="rules of the verdicts")
    prompt: str = Field("metamath", description="'metamath', 'few-shot' or a text file with {question} in it")
    stop: tuple[str, ...] = Field(PAPER_STOP, description="texts at which a completion ends")
    max_new_tokens: int | None = Field(
        None, ge=1, le=1_000_000, description="of a completion (default: 512, MATH's 2048)"
    )
    batch_size: int = Field(32, ge=1, description="transformers: completions made at a time")
    replicas: int = Field(1, ge=1, le=4096, description="vllm: engines side by side")
    tensor_parallel_size: int = Field(1, ge=1, le=64, description="vllm: devices of one engine")
    exact: bool = Field(False, description="vllm: fp32 and no prefix cache")
    vllm: EngineOptions = EngineOptions()


class AblationOptions(BaseModel):
    """Everything that decides an ablation, and how it is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field("", description="run directory of a build, or a JSON, JSONL or Parquet file of rows")
    problems: tuple[str, ...] = Field(
        (),
        description="seed problems NAME[:PATH], for SFT rows and dev problems (default: the run directory's)",
    )
    mixes: tuple[str, ...] = Field(
        ("table1",),
        min_length=1,
        description="table1, rft, incorrect, saturation, or a .yaml file of 'NAME: {TYPE: ROWS or all}'; a TYPE is "
        "AnsAug, GSM_AnsAug, SFT, RFT, incorrect or file:PATH",
    )
    equal: Equal = Field(
        "none", description="what all mixes have the same of: none, rows, tokens, or steps of training"
    )
    size: int | None = Field(
        None, ge=1, description="rows or tokens of each mix with --equal (default: what the smallest has)"
    )
    seeds: int = Field(
        3, ge=1, le=1000, description="trials of each mix: another sample, another order of rows"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="the first of the seeds; also decides the dev problems")
    dev_problems: int | None = Field(
        None, ge=0, description="problems held out of training (default: a tenth of the seeds, 500 at most)"
    )
    choose: Literal["best", "all"] = Field(
        "best", description="which mixes are tested in the end: the best on the dev problems, or all"
    )
    model: str = Field("", description="student to fine-tune: a Hugging Face folder, or a hub name")
    training: TrialTraining = TrialTraining()
    evaluation: TrialEvaluation = TrialEvaluation()
    concurrent_trials: int = Field(1, ge=1, le=4096, description="trials side by side; they share the CPUs")
    keep_models: bool = Field(False, description="keep each trial's trained model")
    output: Path = Field(Path("runs/ablation"), description="folder that the run writes, and goes on with")
    plan: bool = Field(
        False, description="print mixes, rows and trials, and what is left to run; run nothing"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in ("data", "model"):
            if not getattr(self, name):
                raise ValueError(f"{name} must be given: --{name}")
        if self.size is not None and self.equal not in ("rows", "tokens"):
            raise ValueError(f"size needs equal rows or tokens, got equal {self.equal}")
        if self.equal == "steps" and self.train_options().max_steps is None:
            raise ValueError("equal steps needs training.max_steps, the number of them")
        if self.choose == "best" and self.dev_problems == 0:
            raise ValueError("choose best needs dev problems; give --choose all, or --dev-problems above 0")
        if DEV in (spec.partition(":")[0] for spec in self.evaluation.benchmarks):
            raise ValueError(
                f"evaluation.benchmarks: {DEV!r} is the name of the problems held out of training"
            )
        if self.is_in_process and self.train_options().device.kind == "gpu":
            raise ValueError("training.num_workers 0 trains on CPU; give 1 or more for GPUs")
        if self.is_in_process and self.train_options().method != "full":
            raise ValueError("training.num_workers 0 trains all weights; give 1 or more for qlora")
        return self

    @property
    def is_in_process(self) -> bool:
        """Whether a trial trains in its own process."""
        return bool(self.training.num_workers == 0)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds of the trials."""
        return tuple(range(self.seed, self.seed + self.seeds))

    def train_options(self, **own: Any) -> TrainOptions:
        """The options of one trial's training; `own` are those that it alone has."""
        values = self.training.model_dump()
        values["num_workers"] = max(values["num_workers"], 1)
        try:
            return TrainOptions.model_validate(values | {"model": self.model} | own)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(["training", *map(str, first["loc"])])
            raise ValueError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None

    def evaluation_options(
        self, *, model: str, benchmarks: tuple[str, ...], output: Path
    ) -> EvaluationOptions:
        """The options of one evaluation of a trial; `limit` is left out, as dev problems are never limited."""
        given = self.evaluation
        return EvaluationOptions(
            model=model,
            benchmarks=benchmarks,
            output=output,
            grader=given.grader,
            prompt=given.prompt,
            stop=given.stop,
            max_new_tokens={} if given.max_new_tokens is None else {"all": given.max_new_tokens},
            replicas=given.replicas,
            tensor_parallel_size=given.tensor_parallel_size,
            exact=given.exact,
            engine=given.vllm,
        )


RUN_ONLY = frozenset({"output", "plan", "concurrent_trials", "keep_models", "seeds", "mixes", "choose"})
"""Options that may change between two runs of one output folder; more seeds and mixes add their trials."""


def ablation_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the recipe that `given` names for training; its model too, where it has one."""
    training = given.get("training")
    recipe = dict(recipe_defaults(training if isinstance(training, Mapping) else {}))
    model = recipe.pop("model", "")
    of_trial = {name: value for name, value in recipe.items() if name not in _TRIALS_OWN}
    return {"training": of_trial} | ({"model": model} if model else {})
