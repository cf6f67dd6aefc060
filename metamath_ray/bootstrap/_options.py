"""What a user says of a build; one model for YAML, flags and defaults."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from metamath_ray.bootstrap._duplicates import DEFAULT_NEAR_DUPLICATE_THRESHOLD
from metamath_ray.bootstrap._mask import Compat
from metamath_ray.released import Augmentation
from metamath_ray.teacher import TeacherOptions

_Rows = Annotated[int, Field(ge=0)]
AUGMENTATIONS: tuple[Augmentation, ...] = get_args(Augmentation)

_REPHRASINGS_FOR_TARGETS = 16  # and no seed problem has more masks that are worth it
PAPER_TARGETS: dict[str, dict[Augmentation, int]] = {
    "gsm8k": {
        "answer_augmentation": 80_000,
        "rephrasing": 80_000,
        "self_verification": 40_000,
        "fobar": 40_000,
    },
    "math": {
        "answer_augmentation": 75_000,
        "rephrasing": 50_000,
        "self_verification": 15_000,
        "fobar": 15_000,
    },
}
"""Rows of each type in the paper's MetaMathQA, 395K in all (section 4.1)."""


class BuildOptions(BaseModel):
    """Everything that decides a build, and how it is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_dir: Path = Field(Path("runs/metamathqa"), description="folder that the run writes, and goes on with")
    seeds: tuple[str, ...] = Field(
        ("bundled",),
        min_length=1,
        description="seed problems, each NAME or NAME:PATH (bundled, gsm8k, math, own JSONL)",
    )
    limit_seeds: int | None = Field(None, ge=1, description="take the first N seeds of each source")
    skip_bad_rows: bool = Field(False, description="drop and count malformed seed rows, instead of stopping")
    augmentations: tuple[Augmentation, ...] = Field(
        AUGMENTATIONS, min_length=1, description="which of the four to run"
    )
    targets: dict[str, dict[Augmentation, _Rows]] | Literal["paper"] | None = Field(
        None,
        description="rows wanted: --targets.SOURCE.AUGMENTATION N, or 'paper'; without it every question is sampled",
    )
    scale: float = Field(1.0, gt=0, le=1000, allow_inf_nan=False, description="multiplies the targets")
    samples_per_question: int = Field(
        2, ge=1, description="reasoning paths asked of each question in its first round"
    )
    max_samples_per_question: int = Field(
        16, ge=1, description="reasoning paths of one question at most, for targets"
    )
    sampling: Literal["adaptive", "uniform"] = Field(
        "adaptive",
        description="for targets: 'adaptive' asks further paths where they are likeliest to become rows, "
        "'uniform' of all questions alike",
    )
    rephrasings_per_seed: int | None = Field(
        None, ge=1, description="rephrasings of one seed at most (default: 1, with targets 16)"
    )
    masks_per_seed: int | None = Field(
        None,
        ge=1,
        description="masked numbers of one seed at most, for SV and FOBAR (default: 1, with targets all)",
    )
    teacher: TeacherOptions = TeacherOptions()
    budget_usd: float | None = Field(
        None, gt=0, description="stop (exit 3) when the run has spent this; resumable"
    )
    ledger: tuple[Path, ...] = Field(
        (), description="ledger folders or exported ledgers of other runs, read as well"
    )
    plan: bool = Field(False, description="print requests, tokens, money and time expected; send nothing")
    pilot: int | None = Field(
        None,
        ge=2,
        description="with --plan: ask N questions of each source and augmentation of the real teacher first (they "
        "cost money and stay in the ledger), and give the rest with 95 % intervals by what these took",
    )
    compat: Compat = Field(
        "fixed", description="'paper' reproduces the paper's masking, clause split and cleaning"
    )
    prompts: Path | None = Field(None, description="folder of prompt files that replace ours")
    shots: int | None = Field(None, ge=0, description="exemplars a prompt at most (default: all of the file)")
    near_duplicate_threshold: float | None = Field(
        DEFAULT_NEAR_DUPLICATE_THRESHOLD,
        gt=0,
        le=1,
        description="Jaccard similarity from which two rephrasings or paths count as one",
    )
    decontaminate: tuple[str, ...] = Field(
        (), description="benchmarks NAME:PATH whose questions must not be shared (13-grams)"
    )
    num_workers: int = Field(1, ge=1, le=4096, description="worker processes that call the teacher")
    push_to_hub: str | None = Field(
        None,
        description="OWNER/NAME: upload rows and card to the Hugging Face hub at the end (key in HF_TOKEN)",
    )
    seed: int = Field(0, description="seed of every random choice")

    @field_validator("targets", mode="before")
    @classmethod
    def _targets_name_augmentations(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "paper":
            raise ValueError(f"must be 'paper' or --targets.SOURCE.AUGMENTATION N, got {value!r}")
        return value

    @field_validator("augmentations")
    @classmethod
    def _each_once(cls, value: tuple[Augmentation, ...]) -> tuple[Augmentation, ...]:
        return tuple(name for name in AUGMENTATIONS if name in value)

    @model_validator(mode="after")
    def _budget_can_be_reached(self) -> "BuildOptions":
        teacher = self.teacher
        is_free = not (teacher.usd_per_million_prompt_tokens or teacher.usd_per_million_completion_tokens)
        if self.budget_usd is not None and teacher.has_endpoint and is_free:
            raise ValueError(
                f"budget_usd {self.budget_usd:g} would never be reached: give the prices with "
                "--teacher.usd-per-million-prompt-tokens and --teacher.usd-per-million-completion-tokens"
            )
        return self

    @model_validator(mode="after")
    def _pilot_has_a_teacher(self) -> "BuildOptions":
        if self.pilot is not None and not (self.plan and self.teacher.has_endpoint):
            raise ValueError(f"pilot {self.pilot} needs --plan and a teacher with --teacher.base-url")
        return self

    def max_questions(self, augmentation: Augmentation) -> int:
        """How many questions one seed may give: few without targets, as many as it has with them."""
        if augmentation == "answer_augmentation":
            return 1
        asked = self.rephrasings_per_seed if augmentation == "rephrasing" else self.masks_per_seed
        return asked or (_REPHRASINGS_FOR_TARGETS if self.targets else 1)

    def target_rows(self) -> dict[tuple[str, Augmentation], int]:
        """Rows wanted by source and augmentation, scaled; empty where no targets are set."""
        table = PAPER_TARGETS if self.targets == "paper" else self.targets or {}
        return {
            (source, augmentation): round(rows * self.scale)
            for source, by_augmentation in table.items()
            for augmentation, rows in by_augmentation.items()
        }


RUN_ONLY = {
    "run_dir",
    "budget_usd",
    "ledger",
    "plan",
    "pilot",
    "num_workers",
    "push_to_hub",
}
"""Options that may change between two runs of one run directory: none of them can change a row."""

RUN_ONLY_TEACHER = {
    "base_url",
    "interface",
    "batch",
    "api_key_env",
    "endpoints",
    "rpm",
    "tpm",
    "max_in_flight",
    "timeout",
    "give_up_after",
    "samples_per_request",
    "usd_per_million_prompt_tokens",
    "usd_per_million_completion_tokens",
}
"""The same for the teacher's."""


def identity_of(options: BuildOptions) -> dict[str, Any]:
    """The options that decide the rows, as plain JSON."""
    idle = () if options.targets else ("sampling",)  # one round, in which every question is asked alike
    return options.model_dump(
        mode="json", exclude={**dict.fromkeys([*RUN_ONLY, *idle], True), "teacher": RUN_ONLY_TEACHER}
    )
