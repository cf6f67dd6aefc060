"""Every command that a page or a job's help shows is one that its job takes; what pages name exists."""

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from metamath_ray.options import parse_options

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md", "cluster/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
MANIFESTS = sorted((ROOT / "cluster").rglob("*.yaml"))
SCRIPTS = sorted((ROOT / "cluster").glob("*.sh"))
JOBS = sorted((ROOT / "jobs").glob("[!_]*.py"))

_BLOCK = re.compile(r"^```(?:sh|bash|shell)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_ANY_BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_JOB = re.compile(r"(?:\S*/)?jobs/(\w+)\.py$")
_ENDS = {"&&", "||", "|", ";", "&", ">", ">>"}
_PATH = re.compile(r"(?<![\w/.])(?:cluster|docs|jobs|metamath_ray|tests)/[\w./-]*\w")


def lines_of(page: Path) -> Iterator[str]:
    """Shell lines of a page: its blocks, continued lines joined, and what stands in backticks."""
    text = page.read_text(encoding="utf-8")
    for block in _BLOCK.findall(text):
        yield from block.replace("\\\n", " ").splitlines()
    yield from (" ".join(span.split()) for span in _SPAN.findall(_ANY_BLOCK.sub("", text)))


def help_lines_of(job: Path) -> Iterator[str]:
    """The indented lines of what a job's `--help` begins with."""
    text = ast.get_docstring(ast.parse(job.read_text(encoding="utf-8"))) or ""
    yield from (line.strip() for line in text.replace("\\\n", " ").splitlines() if line.startswith("    "))


def manifest_lines_of(path: Path) -> Iterator[str]:
    """What a manifest has a job's driver run."""
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        if entrypoint := document.get("spec", {}).get("entrypoint"):
            yield entrypoint


def script_lines_of(path: Path) -> Iterator[str]:
    """The indented lines of what a script says of itself, continued ones joined."""
    said = re.findall(r"^#   +(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    yield from "\n".join(said).replace("\\\n", " ").splitlines()


def commands_in(lines: Iterator[str]) -> Iterator[tuple[str, list[str]]]:
    """The jobs that those lines start, each with its arguments; what only names a job is none."""
    for line in lines:
        if "jobs/" not in line or ".py" not in line:
            continue
        words = shlex.split(line, comments=True)
        for place, word in enumerate(words):
            if found := _JOB.match(word):
                arguments = words[place + 1 :]
                end = next((n for n, one in enumerate(arguments) if one in _ENDS), len(arguments))
                if given := [one for one in arguments[:end] if one != "…"]:
                    yield found[1], given


def options_of(job: Path) -> tuple[Any, Any]:
    """What a job gives to `parse_options`: its model, and its defaults if it has some."""
    (call,) = [
        node
        for node in ast.walk(ast.parse(job.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "parse_options"
    ]
    spec = importlib.util.spec_from_file_location(job.stem, job)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    given = [call.args[0], *(one.value for one in call.keywords if one.arg == "defaults")]
    model, *defaults = [eval(ast.unparse(one), vars(module)) for one in given]
    return model, defaults[0] if defaults else None


DOCUMENTED = [
    pytest.param(job, arguments, id=f"{source.name}-{number}-{job}")
    for reads, sources in (
        (lines_of, PAGES),
        (help_lines_of, JOBS),
        (manifest_lines_of, MANIFESTS),
        (script_lines_of, SCRIPTS),
    )
    for source, lines in ((source, reads(source)) for source in sources)
    for number, (job, arguments) in enumerate(commands_in(lines), start=1)
]  # fmt: skip


@pytest.mark.parametrize(("job", "arguments"), DOCUMENTED)
def test_a_documented_command_is_one_that_its_job_takes(
    job: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "MODEL_FOLDER").mkdir()
    (tmp_path / "MODEL_FOLDER" / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(ROOT / "jobs")
    model, defaults = options_of(ROOT / "jobs" / f"{job}.py")
    parse_options(model, arguments, prog=job, description="", defaults=defaults)


def test_pages_and_help_show_commands() -> None:
    assert {param.values[0] for param in DOCUMENTED} <= {job.stem for job in JOBS}
    assert len(DOCUMENTED) > 20
    shown = {str(param.id).rpartition("-")[0].rpartition("-")[0] for param in DOCUMENTED}
    assert shown > {"build.yaml", "train.yaml", "evaluate.yaml", "ablate.yaml", "analyze.yaml", "slurm.sh"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [path for path in _PATH.findall(text) if not (ROOT / path).exists()] == []
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    asked = [line.split()[1] for line in lines_of(page) if re.match(r"make [a-z-]+", line)]
    assert [target for target in asked if target not in targets] == []
