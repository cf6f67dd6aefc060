"""What a user says of the demo, and how large it then is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from metamath_ray.demo._student import ABOUT_STUDENT, PACKAGE, STUDENT


@dataclass(frozen=True, slots=True)
class Size:
    """How much is learnt and asked, `problems` of each benchmark."""

    name: str
    max_steps: int
    problems: int
    max_new_tokens: int


# 99 in 100 rows of the bundled build have at most 189 response tokens; 48 steps read about 570 of the 766 rows.
# 110 are all problems of `bundled`, and half of its backward twin.
FULL = Size("full", max_steps=48, problems=110, max_new_tokens=192)
FAST = Size("fast", max_steps=5, problems=16, max_new_tokens=128)


class DemoOptions(BaseModel):
    """Everything that decides a demo; the jobs' other options are chosen for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_dir: Path = Field(Path("runs/demo"), description="folder that the demo writes, and goes on with")
    fast: bool = Field(
        False, description="few steps and problems: shows that all of it works, and not much more"
    )
    model: Path | None = Field(
        None,
        description=f"Hugging Face folder of a student (default: {STUDENT}, brought from the package {PACKAGE})",
    )
    max_steps: int | None = Field(
        None,
        ge=1,
        description=f"optimizer steps of the training (default: {FULL.max_steps}; {FAST.max_steps} with --fast)",
    )
    problems: int | None = Field(
        None,
        ge=1,
        description=f"problems of each benchmark (default: {FULL.problems}; {FAST.problems} with --fast)",
    )
    max_new_tokens: int | None = Field(
        None,
        ge=16,
        description="most new tokens of a completion "
        f"(default: {FULL.max_new_tokens}; {FAST.max_new_tokens} with --fast)",
    )
    open: bool = Field(True, description="open the page in a browser, where there is a display")
    student_only: bool = Field(
        False, description="bring the student into the run directory, and nothing else"
    )

    @field_validator("model")
    @classmethod
    def _model_is_a_folder(cls, value: Path | None) -> Path | None:
        if value is not None and not (value.expanduser() / "config.json").is_file():
            raise ValueError(f"must be a folder with a Hugging Face model, {str(value)!r} has no config.json")
        return None if value is None else value.expanduser()

    @property
    def size(self) -> Size:
        """The size asked for, by name and with what the options say otherwise."""
        size = FAST if self.fast else FULL
        return Size(
            size.name,
            max_steps=self.max_steps or size.max_steps,
            problems=self.problems or size.problems,
            max_new_tokens=self.max_new_tokens or size.max_new_tokens,
        )

    @property
    def student(self) -> Path:
        """The folder of the student, there or to be brought."""
        return self.run_dir / STUDENT if self.model is None else self.model

    @property
    def about_student(self) -> str:
        """What the page says of the student, after its name."""
        return ABOUT_STUDENT if self.model is None else f"is the model in {self.model}."

    def identity(self) -> dict[str, Any]:
        """What two runs of one folder share: with anything else, finished steps are another demo's."""
        size = self.size
        return {
            "model": PACKAGE if self.model is None else str(self.model.resolve()),
            "max_steps": size.max_steps,
            "problems": size.problems,
            "max_new_tokens": size.max_new_tokens,
        }
