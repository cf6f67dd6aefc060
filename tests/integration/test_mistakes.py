"""The mistakes that new users make most, tried through the jobs as they would: one clear line, nothing left behind.

Those that need a Ray cluster to happen stand in `test_mistakes_on_ray.py`.
"""

import fcntl
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from mistakes import BUILD, EVALUATE, ROOT, SECRET, SERVE, TRAIN, check, run

OUTPUT = {BUILD: "--run-dir", TRAIN: "--output", EVALUATE: "--output"}
ROW = {"query": "What is 1 + 1?", "response": "1 + 1 = 2.\nThe answer is: 2"}


@dataclass(frozen=True)
class Place:
    """Where a mistake is made: a folder of its own, a tiny model, a teacher that speaks real HTTP."""

    folder: Path
    fixture: Callable[[str], Any]
    teacher: Callable[..., Any]
    stack: ExitStack

    @property
    def model(self) -> Path:
        """Made when it is first asked for."""
        model: Path = self.fixture("tiny_model")
        return model

    def write(self, name: str, content: str | bytes) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


Prepare = Callable[[Place], dict[str, str] | None]
"""Makes what a mistake needs; gives values for `{names}` in its arguments, its environment and its line."""


@dataclass(frozen=True)
class Mistake:
    """What a user types, and what the one line must say."""

    job: str
    args: str
    says: tuple[str, ...]
    code: int = 2
    env: dict[str, str] = field(default_factory=dict)
    prepare: Prepare | None = None
    keeps_output: bool = False
    num_faults: int = 1
    """Training names every fault, each on a line of its own."""


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# What mistakes need.


def teacher(**behaviour: Any) -> Prepare:
    return lambda place: {"url": place.teacher(**behaviour).base_url}


def file(name: str, content: str | bytes) -> Prepare:
    def prepare(place: Place) -> None:
        place.write(name, content)

    return prepare


def taken_port(place: Place) -> dict[str, str]:
    taken = place.stack.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return {"port": str(taken.getsockname()[1])}


def truncated_parquet(place: Place) -> None:
    path = place.folder / "whole.parquet"
    pq.write_table(pa.Table.from_pylist([ROW] * 1000), path)
    place.write("cut.parquet", path.read_bytes()[:-200])
    path.unlink()


def build_without_dataset(place: Place) -> None:
    place.write("build/config.yaml", "seeds: [bundled]\n")
    place.write("build/ledger/0.jsonl", "")


def bare_model(*missing: str) -> Prepare:
    def prepare(place: Place) -> None:
        shutil.copytree(place.model, place.folder / "bare")
        for name in missing:
            (place.folder / "bare" / name).unlink()

    return prepare


def pointer_model(place: Place) -> None:
    """What `git clone` leaves without git-lfs."""
    shutil.copytree(place.model, place.folder / "bare")
    place.write(
        "bare/model.safetensors",
        "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 269060552\n",
    )


def huge_model(place: Place) -> None:
    """The shape of a model of 70B weights: what it needs is known before its weights are read."""
    shutil.copytree(place.model, place.folder / "huge")
    config = json.loads((place.folder / "huge" / "config.json").read_text())
    shape = {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
    }
    place.write("huge/config.json", json.dumps(config | shape))


def used_folder(place: Place) -> None:
    place.write("run/holiday.jpg", "")


def folder_in_use(place: Place) -> None:
    (place.folder / "run").mkdir()
    lock = place.stack.enter_context((place.folder / "run" / ".lock").open("w"))
    fcntl.flock(lock, fcntl.LOCK_EX)


def folder_of(config: dict[str, Any]) -> Prepare:
    return file("run/config.yaml", yaml.safe_dump(config))


def submitted(place: Place) -> dict[str, str]:
    """Where `ray job submit --working-dir` puts a job."""
    folder = place.folder / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_0123"
    folder.mkdir(parents=True)
    return {"cwd": str(folder)}


def without(*packages: str) -> Prepare:
    """A Python in which packages are not installed."""
    code = (
        "import importlib.machinery as m\n"
        "find = m.PathFinder.find_spec\n"
        f"hidden = {packages!r}\n"
        "m.PathFinder.find_spec = staticmethod(\n"
        "    lambda name, *rest: None if name.split('.')[0] in hidden else find(name, *rest))\n"
    )
    return file("hide/sitecustomize.py", code)


TRAINING = "--data {folder}/rows.jsonl --model {model} --max-length 192 --precision fp32"

MISTAKES = {
    # The teacher
    "no-key": Mistake(
        BUILD, "--teacher.base-url {url}", ("refused the API key (401)", "OPENAI_API_KEY", "nothing was sent"),
        code=3, prepare=teacher(api_key="sk-another"),
    ),
    "wrong-key": Mistake(
        BUILD, "--teacher.base-url {url} --teacher.api-key-env MY_KEY", ("refused the API key (401)", "MY_KEY"),
        code=3, env={"MY_KEY": SECRET}, prepare=teacher(api_key="sk-another"),
    ),
    "key-as-option": Mistake(
        BUILD, f"--teacher.api-key {SECRET}", ("unknown option --teacher.api-key", "--teacher.api-key-env")
    ),
    "key-as-variable": Mistake(BUILD, f"--teacher.api-key-env {SECRET}", ("teacher.api_key_env",)),
    "key-in-url": Mistake(
        BUILD, f"--teacher.base-url https://u:{SECRET}@host/v1", ("teacher.base_url", "--teacher.api-key-env")
    ),
    "wrong-model": Mistake(
        BUILD, "--teacher.base-url {url} --teacher.model gpt-9", ("serves no model 'gpt-9'", "real-1"),
        code=3, prepare=teacher(models=["real-1"], owned_by="vllm"),
    ),
    "teacher-down": Mistake(
        BUILD, "--teacher.base-url http://127.0.0.1:9/v1", ("no teacher answers at http://127.0.0.1:9",), code=3
    ),
    "teacher-misspelt": Mistake(
        BUILD, "--teacher.base-url http://teacher.invalid/v1", ("no teacher answers at http://teacher.invalid",), code=3
    ),
    "url-without-scheme": Mistake(
        BUILD, "--teacher.base-url 127.0.0.1:8000/v1", ("teacher.base_url must be an http:// or https:// address",)
    ),
    "budget-of-nothing": Mistake(BUILD, "--budget-usd 0", ("budget_usd must be greater than 0, got '0'",)),
    "budget-without-prices": Mistake(
        BUILD, "--budget-usd 5 --teacher.base-url http://127.0.0.1:9/v1",
        ("budget_usd 5 would never be reached", "--teacher.usd-per-million-prompt-tokens"),
    ),
    # Options
    "unknown-option": Mistake(BUILD, "--teacher.rpmm 3", ("unknown option --teacher.rpmm", "did you mean --teacher.rpm?")),
    "underscores": Mistake(TRAIN, "--learning_rate 1e-5", ("unknown option --learning_rate", "did you mean --learning-rate?")),
    "misspelt-type": Mistake(
        BUILD, "--targets.bundled.fobbar 3", ("targets.bundled.fobbar", "'fobar'", "'self_verification'")
    ),
    "word-for-number": Mistake(TRAIN, "--epochs three", ("epochs must be a valid number", "got 'three'")),
    "config-typo": Mistake(
        BUILD, "--config {folder}/o.yaml", ("o.yaml: unknown option teacher.modell, did you mean teacher.model?",),
        prepare=file("o.yaml", "teacher: {modell: x}\n"),
    ),
    "config-no-yaml": Mistake(
        EVALUATE, "--config {folder}/o.yaml", ("o.yaml is no YAML", "line 2"), prepare=file("o.yaml", "a: [\n")
    ),
    "config-missing": Mistake(TRAIN, "--config nowhere.yaml", ("--config nowhere.yaml: No such file",)),
    "unknown-recipe": Mistake(TRAIN, "--recipe llama2_7b", ("recipe 'llama2_7b' is unknown; did you mean llama2-7b?",)),
    # Files
    "no-seeds": Mistake(BUILD, "--seeds own:nowhere.jsonl", ("problem file 'nowhere.jsonl' does not exist",)),
    "seeds-no-json": Mistake(
        BUILD, "--seeds own:{folder}/s.jsonl", ("s.jsonl:1: not JSON", "each line must hold one JSON object"),
        prepare=file("s.jsonl", "question,answer\n1+1?,2\n"),
    ),
    "seeds-cut": Mistake(
        BUILD, "--seeds own:{folder}/s.jsonl", ("1 of 2 rows are bad", "s.jsonl:2: not JSON"),
        prepare=file("s.jsonl", '{"question": "1+1?", "answer": "2"}\n{"question": "2+'),
    ),
    "hub-package-missing": Mistake(
        BUILD, "--seeds gsm8k", ("pip install 'metamath-ray[hub]'", "gsm8k:PATH"),
        prepare=without("datasets"), env={"PYTHONPATH": "{folder}/hide"},
    ),
    "hub-offline": Mistake(
        BUILD, "--seeds gsm8k", ("cannot load openai/gsm8k from the hub", "gsm8k:PATH"),
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": "{folder}/hf"},
    ),
    "no-data": Mistake(TRAIN, "--model {model}", ("data must be named: --data",)),
    "data-missing": Mistake(
        TRAIN, "--model {model} --data nowhere.jsonl", ("nowhere.jsonl' does not exist", "--data")
    ),
    "half-a-build": Mistake(
        TRAIN, "--model {model} --data {folder}/build", ("build' is no run directory of a build", "dataset/*.parquet"),
        prepare=build_without_dataset,
    ),
    "half-a-parquet": Mistake(
        TRAIN, "--model {model} --data {folder}/cut.parquet", ("cut.parquet is no readable Parquet file",),
        prepare=truncated_parquet,
    ),
    "half-a-json": Mistake(
        TRAIN, "--model {model} --data {folder}/d.json", ("d.json is no readable JSON",),
        prepare=file("d.json", json.dumps([ROW] * 9)[:-40]),
    ),
    "other-columns": Mistake(
        TRAIN, "--model {model} --data {folder}/d.jsonl", ("d.jsonl:1: no column 'query'", "gsm8k:PATH"),
        prepare=file("d.jsonl", '{"question": "1+1?", "answer": "1+1=2 #### 2"}\n'),
    ),
    "bad-benchmark-row": Mistake(
        EVALUATE, "--model {model} --benchmarks own:{folder}/b.jsonl", ("b.jsonl:2: field 'question'",),
        prepare=file("b.jsonl", '{"question": "1+1?", "answer": "2"}\n{"question": 3}\n'),
    ),
    # Models
    "no-model": Mistake(TRAIN, "--data bundled", ("model must be named: --model",)),
    "model-missing": Mistake(EVALUATE, "--model ./students/one", ("./students/one", "there is no such folder")),
    "model-without-weights": Mistake(
        TRAIN, "--data bundled --model {folder}/bare", ("bare has no weights", "fetch the model again"),
        prepare=bare_model("model.safetensors"),
    ),
    "model-without-tokenizer": Mistake(
        TRAIN, "--data bundled --model {folder}/bare", ("bare has no tokenizer.json", "copy"),
        prepare=bare_model("tokenizer.json"),
    ),
    "model-is-a-pointer": Mistake(
        TRAIN, "--data bundled --model {folder}/bare", ("model.safetensors is no whole safetensors file",),
        prepare=pointer_model,
    ),
    "evaluated-pointer": Mistake(
        EVALUATE, "--model {folder}/bare", ("model.safetensors is no whole safetensors file",), prepare=pointer_model
    ),
    "served-without-weights": Mistake(
        SERVE, "--model {folder}/bare", ("bare has no weights",), prepare=bare_model("model.safetensors")
    ),
    "model-offline": Mistake(
        TRAIN, "--data bundled --model owner/name", ("owner/name", "not in the hub's cache", "HF_HUB_OFFLINE"),
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": "{folder}/hf"},
    ),
    # The machine
    "no-gpu": Mistake(TRAIN, TRAINING + " --device.kind gpu", ("device.kind gpu", "--device.kind cpu")),
    "too-little-memory": Mistake(
        TRAIN, "--data bundled --model {folder}/huge --global-batch-size 4",
        ("a worker needs about", "take more or larger GPUs, or a smaller model", "lower --checkpoint.keep"),
        prepare=huge_model, num_faults=2,
    ),
    "too-little-disk": Mistake(
        TRAIN, TRAINING + " --checkpoint.keep 100000000", ("GiB for 100000002 checkpoints", "lower --checkpoint.keep")
    ),
    "too-many-workers": Mistake(
        TRAIN, TRAINING + " --num-workers 512 --global-batch-size 2048", ("512 workers", "lower --num-workers", "a worker needs about"), num_faults=2,

    ),
    "port-in-use": Mistake(
        SERVE, "--model {model} --port {port}", ("port {port} on 127.0.0.1 can't be used", "give another --port"),
        prepare=taken_port,
    ),
    "served-to-all-without-key": Mistake(
        SERVE, "--model {model} --host 0.0.0.0", ("host 0.0.0.0", "METAMATH_RAY_SERVE_KEY", "127.0.0.1")
    ),
    "no-engine-package": Mistake(
        EVALUATE, "--model {model}", ("vllm is not installed", "pip install 'metamath-ray[cpu]'"),
        prepare=without("vllm"), env={"PYTHONPATH": "{folder}/hide"},
    ),
    "server-down": Mistake(
        EVALUATE, "--base-url http://127.0.0.1:9/v1", ("no server answers at http://127.0.0.1:9",)
    ),
    # Where it runs
    "no-cluster": Mistake(
        BUILD, "", ("no Ray cluster answers at RAY_ADDRESS 127.0.0.1:9", "or unset it to run here"),
        env={"RAY_ADDRESS": "127.0.0.1:9"}, keeps_output=True,
    ),
    "dashboard-as-cluster": Mistake(
        TRAIN, TRAINING, ("RAY_ADDRESS http://127.0.0.1:8265 is a dashboard's", "HOST:6379"),
        env={"RAY_ADDRESS": "http://127.0.0.1:8265"},
    ),
    "submitted-with-a-relative-path": Mistake(
        BUILD, "--run-dir runs/one", ("--run-dir runs/one is relative", "give an absolute path"), prepare=submitted
    ),
    # The output
    "output-can-not-be-written": Mistake(
        BUILD, "--run-dir /dev/null/run", ("/dev/null/run can't be written", "name another --run-dir")
    ),
    "output-of-other-files": Mistake(
        BUILD, "", ("run holds files but no config.yaml", "--run-dir"), prepare=used_folder, keeps_output=True
    ),
    "output-in-use": Mistake(
        BUILD, "", ("is in use by another run", "--run-dir"), prepare=folder_in_use, keeps_output=True
    ),
    "other-options": Mistake(
        BUILD, "--samples-per-question 3", ("made with other options (", "samples_per_question", "--ledger"),
        prepare=folder_of({"seeds": ["bundled"], "samples_per_question": 2}), keeps_output=True,
    ),
    "made-by-another-version": Mistake(
        BUILD, "", ("metamath_ray 0.0.3", "does not take (colour)", "--run-dir"),
        prepare=folder_of({"seeds": ["bundled"], "colour": "red", "metamath_ray_version": "0.0.3"}), keeps_output=True,
    ),
    "output-of-another-job": Mistake(
        EVALUATE, "--base-url {url} --endpoint.api chat", ("holds a run of another job", "--output"),
        prepare=lambda place: folder_of({"seeds": ["bundled"], "teacher": {}, "targets": None})(place)
        or teacher()(place), keeps_output=True,
    ),
}  # fmt: skip

QUICK = ("unknown-option", "config-typo", "no-seeds", "teacher-down", "other-options", "server-down")
"""What `-m "not slow"` tries too."""


@contextmanager
def place_of(
    tmp_path: Path, request: pytest.FixtureRequest, teacher_double: Callable[..., Any]
) -> Iterator[Place]:
    with ExitStack() as stack:
        place = Place(tmp_path, request.getfixturevalue, teacher_double, stack)
        place.write("rows.jsonl", json.dumps(ROW) + "\n")
        yield place


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MISTAKES]
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, teacher_double: Callable[..., Any]
) -> None:
    mistake = MISTAKES[name]
    with place_of(tmp_path, request, teacher_double) as place:
        given = (mistake.prepare(place) if mistake.prepare else None) or {}
        values = {"folder": str(tmp_path)} | given
        if "{model}" in mistake.args:
            values["model"] = str(place.model)
        args = [word.format(**values) for word in mistake.args.split()]
        output = tmp_path / "run"
        if mistake.job in OUTPUT and OUTPUT[mistake.job] not in args:
            args += [OUTPUT[mistake.job], str(output)]
        before = files_below(output)
        env = {key: value.format(**values) for key, value in mistake.env.items()}
        done = run(mistake.job, args, cwd=Path(values.get("cwd", tmp_path)), **env)
    check(
        done,
        code=mistake.code,
        says=tuple(part.format(**values) for part in mistake.says),
        num_lines=mistake.num_faults,
    )
    if mistake.keeps_output:
        assert before.items() <= files_below(output).items(), "it changed what lay there"
    else:
        assert not output.exists(), "it left a folder behind"


# Python itself.

BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)


@pytest.mark.parametrize("job", [path.name for path in sorted((ROOT / "jobs").glob("[!_]*.py"))])
def test_the_wrong_python_is_one_line(job: str, tmp_path: Path) -> None:
    if subprocess.run([BASE_PYTHON, "-c", "import pydantic, ray"], capture_output=True).returncode == 0:
        pytest.skip("the Python below this environment has our packages too")
    done = run(job, [], cwd=tmp_path, python=BASE_PYTHON)
    check(done, code=2, says=("this is Python 3.", "is not installed in it", ".venv/bin/python"))


def test_an_old_python_is_one_line(tmp_path: Path) -> None:
    code = "import runpy, sys; sys.version_info = (3, 9, 2); runpy.run_path(sys.argv[1], run_name='__main__')"
    script = str(ROOT / "jobs" / "_python.py")
    done = subprocess.run([sys.executable, "-c", code, script], capture_output=True, text=True, cwd=tmp_path)
    check(done, code=2, says=("this is Python", "3.11 or newer", ".venv/bin/python"))
