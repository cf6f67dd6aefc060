"""The teacher's few-shot prompts: one text file for each style and step, which users can replace.

A file is an instruction, then exemplars, each a `=== user` line, text, a `=== assistant` line, text.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from metamath_ray.problems import Style
from metamath_ray.teacher import Message

Step = Literal["solve", "rephrase", "declare", "solve_self_verification", "solve_fobar"]
"""What the teacher is asked to do; each has a prompt file of that name in either style."""

_OURS = Path(__file__).parent / "prompts"
_MARK = "==="
_USER, _ASSISTANT = f"{_MARK} user", f"{_MARK} assistant"
_NAMES: dict[str, tuple[Style, Step]] = {
    f"{style}/{step}.txt": (style, step) for style in get_args(Style) for step in get_args(Step)
}


@dataclass(frozen=True)
class Exemplar:
    """A worked example: what a user would send, and the reply that it should get."""

    user: str
    assistant: str


@dataclass(frozen=True)
class Prompt:
    """The instruction (system message) and exemplars of one style and step, in the file's order."""

    style: Style
    step: Step
    instruction: str
    exemplars: tuple[Exemplar, ...]

    def messages(self, text: str, *, shots: int | None = None) -> list[Message]:
        """Give the instruction, the first `shots` exemplars as turns (`None`: all), then `text`.

        Where there are fewer exemplars than `shots`, all are used. ValueError where it is negative.
        """
        if shots is not None and shots < 0:
            raise ValueError(f"shots must be at least 0, got {shots}")
        messages: list[Message] = [{"role": "system", "content": self.instruction}]
        for exemplar in self.exemplars[:shots]:
            messages.append({"role": "user", "content": exemplar.user})
            messages.append({"role": "assistant", "content": exemplar.assistant})
        return [*messages, {"role": "user", "content": text}]

    @cached_property
    def sha256(self) -> str:
        """Hash of what the teacher sees: line endings and blank lines at a turn's ends do not count."""
        turns = [[exemplar.user, exemplar.assistant] for exemplar in self.exemplars]
        return _hash([self.instruction, turns])


@dataclass(frozen=True)
class Prompts:
    """The prompts of every style and step that a run uses."""

    prompts: tuple[Prompt, ...]

    def get(self, style: Style, step: Step) -> Prompt:
        """Give the prompt that asks for `step` on a problem of `style`."""
        return next(prompt for prompt in self.prompts if (prompt.style, prompt.step) == (style, step))

    @cached_property
    def sha256(self) -> str:
        """Hash over all prompts: a run with another hash asks the teacher something else."""
        return _hash(sorted([prompt.style, prompt.step, prompt.sha256] for prompt in self.prompts))


def load_prompts(folder: Path | None = None) -> Prompts:
    """Give all prompts: those of the user's `folder`, and ours for each file that it lacks.

    `folder` holds files named as ours, such as `gsm/solve.txt`. A file without markers is an
    instruction without exemplars. ValueError, naming file and line, for a folder that is not there,
    a `.txt` file of another name (it would be left unused unseen), and a malformed file.
    """
    if folder is not None:
        _check_names(folder)
    prompts = []
    for name, (style, step) in _NAMES.items():
        own = folder / name if folder is not None else None
        path = own if own is not None and own.is_file() else _OURS / name
        instruction, exemplars = _parse(_read(path), path)
        prompts.append(Prompt(style, step, instruction, exemplars))
    return Prompts(tuple(prompts))


def _check_names(folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"prompts must be a folder, got {folder}")
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.txt"))
    allowed = f"allowed are {', '.join(_NAMES)}"
    if not found:
        raise ValueError(f"{folder} holds no prompt file: {allowed}")
    unknown = [name for name in found if name not in _NAMES]
    if unknown:
        raise ValueError(f"{folder / unknown[0]} is not the name of a prompt: {allowed}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}:{line}: byte {error.object[error.start]:#04x} is not UTF-8") from None


def _parse(text: str, path: Path) -> tuple[str, tuple[Exemplar, ...]]:
    blocks = _split_blocks(text, path)
    for _, line, content in blocks:
        if not content:
            what = "the instruction" if line == 1 else "the turn that begins here"
            raise ValueError(f"{path}:{line}: {what} is empty, it must hold at least one word")
    turns = blocks[1:]
    for index, (marker, line, _) in enumerate(turns):
        expected = (_USER, _ASSISTANT)[index % 2]
        if marker != expected:
            raise ValueError(f"{path}:{line}: {expected!r} must come here, got {marker!r}")
    if len(turns) % 2:
        raise ValueError(f"{path}:{turns[-1][1]}: this {_USER!r} has no {_ASSISTANT!r} after it")
    pairs = zip(turns[::2], turns[1::2], strict=True)
    return blocks[0][2], tuple(Exemplar(user[2], assistant[2]) for user, assistant in pairs)


def _split_blocks(text: str, path: Path) -> list[tuple[str, int, str]]:
    """Give marker, line number and text of each block; the instruction has the marker `""`."""
    heads, bodies = [("", 1)], [list[str]()]
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.startswith(_MARK):
            bodies[-1].append(line)
            continue
        if line.rstrip() not in (_USER, _ASSISTANT):
            raise ValueError(f"{path}:{number}: {line!r} must be {_USER!r} or {_ASSISTANT!r}")
        heads.append((line.rstrip(), number))
        bodies.append([])
    return [(*head, "\n".join(body).strip()) for head, body in zip(heads, bodies, strict=True)]


def _hash(value: object) -> str:
    canonical = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
