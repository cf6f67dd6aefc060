"""What a build and a training write, read by the tools that people use; the snippets of docs/use_elsewhere.md."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_double import serve_hub

import metamath_ray
from metamath_ray.student_prompt import render_student_prompt

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "use_elsewhere.md").read_text(encoding="utf-8")
TOKEN = "hf_canary_2b7e"
NUM_SEEDS = 4

pytestmark = pytest.mark.slow


def snippet(language: str, mark: str) -> str:
    """The page's only block of that language that holds `mark`."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    (found,) = [block for block in blocks if mark in block]
    return found


def run(
    command: list[str], *, cwd: Path, timeout_s: float = 280, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, timeout=timeout_s, env=os.environ | env
    )


def build(cwd: Path, *more: str, **env: str) -> subprocess.CompletedProcess[str]:
    job = [sys.executable, str(ROOT / "jobs" / "build_metamathqa.py"), "--limit-seeds", str(NUM_SEEDS)]
    return run([*job, "--run-dir", "runs/metamathqa", *more], cwd=cwd, **env)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, cluster: str) -> Path:
    """A folder with `runs/metamathqa`: a real build from the bundled ledger."""
    folder = tmp_path_factory.mktemp("home")
    done = build(folder, RAY_ADDRESS=cluster)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "a build has nothing to complain of"
    assert not set(done.stdout) & {"\x1b", "\r", "\b"}, "no terminal, no control characters"
    return folder


@pytest.fixture(scope="module")
def rows(home: Path) -> list[dict[str, Any]]:
    return json.loads((home / "runs" / "metamathqa" / "MetaMathQA.json").read_text())


@pytest.fixture(scope="module")
def elsewhere() -> dict[str, str]:
    """The environment in which LLaMA-Factory and axolotl are importable; they are no dependency of ours."""
    return {"PYTHONPATH": os.environ.get("METAMATH_RAY_INTEROP", "")}


def has(package: str, elsewhere: dict[str, str]) -> bool:
    return (Path(elsewhere["PYTHONPATH"] or os.devnull) / package).is_dir()


def test_datasets_reads_the_rows(home: Path, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    code = snippet("python", "load_dataset")
    code += "import json\nprint(json.dumps([list(rows), list(same), list(released)]))\n"
    offline = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = run([sys.executable, "-c", code], cwd=home, **offline)
    assert done.returncode == 0, done.stderr
    by_parquet, by_card, by_json = json.loads(done.stdout.splitlines()[-1])
    assert by_parquet == by_card
    assert by_json == rows
    assert [{name: row[name] for name in rows[0]} for row in by_parquet] == rows


def test_llama_factory_reads_the_rows(
    home: Path, rows: list[dict[str, Any]], elsewhere: dict[str, str]
) -> None:
    info = json.loads(snippet("json", '"file_name"'))
    options = yaml.safe_load(snippet("yaml", "# llamafactory"))
    (home / options["dataset_dir"] / "dataset_info.json").write_text(json.dumps(info))
    columns = info[options["dataset"]]["columns"]
    assert {columns["prompt"], columns["response"]} <= rows[0].keys()
    if not has("llamafactory", elsewhere):
        pytest.skip("LLaMA-Factory is not here (METAMATH_RAY_INTEROP)")
    code = f"""
import json, sys, types
import peft, transformers
sys.modules["torchaudio"] = types.ModuleType("torchaudio")  # breaks beside a CPU build of torch, is not used
from llamafactory.data.converter import AlpacaDatasetConverter
from llamafactory.data.parser import get_dataset_list
(attributes,) = get_dataset_list([{options["dataset"]!r}], {options["dataset_dir"]!r})
rows = json.load(open({options["dataset_dir"]!r} + "/" + attributes.dataset_name))
convert = AlpacaDatasetConverter(attributes, None)
print(json.dumps([convert(row) for row in rows]))
"""
    done = run([sys.executable, "-c", code], cwd=home, **elsewhere)
    assert done.returncode == 0, done.stderr
    converted = json.loads(done.stdout.splitlines()[-1])
    assert [one["_prompt"][0]["content"] for one in converted] == [row["query"] for row in rows]
    assert [one["_response"][0]["content"] for one in converted] == [row["response"] for row in rows]


def test_axolotl_renders_the_prompt_that_we_train_on(
    home: Path, rows: list[dict[str, Any]], tiny_model: Path, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    (dataset,) = yaml.safe_load(snippet("yaml", "# axolotl"))["datasets"]
    assert json.loads((home / dataset["path"]).read_text()) == rows
    kind = dataset["type"]
    assert kind["format"] == kind["no_input_format"]
    filled = kind["format"].format(instruction=rows[0][kind["field_instruction"]])
    assert filled == render_student_prompt(rows[0]["query"])
    if not has("axolotl", elsewhere):
        pytest.skip("axolotl is not here (METAMATH_RAY_INTEROP)")
    (tmp_path / "config.yaml").write_text(snippet("yaml", "# axolotl"))
    code = f"""
import json, types, yaml
from axolotl.prompt_strategies import user_defined
from axolotl.utils.schemas.datasets import SFTDataset
from transformers import AutoTokenizer
config = yaml.safe_load(open("{tmp_path}/config.yaml"))
(dataset,) = config["datasets"]
SFTDataset.model_validate(dataset)
tokenizer = AutoTokenizer.from_pretrained("{tiny_model}")
kind = user_defined.UserDefinedDatasetConfig(**dataset["type"])
strategy = user_defined.load(tokenizer, types.SimpleNamespace(**config), kind)
row = json.load(open(dataset["path"]))[0]
tokens = strategy.tokenize_prompt(row)
answer = [token for token, label in zip(tokens["input_ids"], tokens["labels"]) if label != -100]
print(json.dumps([tokenizer.decode(tokens["input_ids"]), tokenizer.decode(answer)]))
"""
    done = run([sys.executable, "-c", code], cwd=home, **elsewhere)
    assert done.returncode == 0, done.stderr
    whole, answer = json.loads(done.stdout.splitlines()[-1])
    assert whole.startswith(render_student_prompt(rows[0]["query"]) + rows[0]["response"])
    assert answer.startswith(rows[0]["response"])


def test_every_artefact_of_a_build_names_the_version(home: Path) -> None:
    run_dir, version = home / "runs" / "metamathqa", metamath_ray.__version__
    assert yaml.safe_load((run_dir / "config.yaml").read_text())["metamath_ray_version"] == version
    assert json.loads((run_dir / "summary.json").read_text())["version"] == version
    for name in ("README.md", "report.html"):
        assert f"metamath_ray {version}" in (run_dir / name).read_text()


def test_the_card_is_one_that_the_hub_takes(home: Path) -> None:
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(home / "runs" / "metamathqa" / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.configs[0]["data_files"] == [{"split": "train", "path": "dataset/*.parquet"}]


def test_a_build_is_pushed_with_its_card_and_nothing_private(home: Path, cluster: str) -> None:
    with serve_hub(TOKEN) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "RAY_ADDRESS": cluster}
        done = build(home, "--push-to-hub", "me/rows", **env)
        assert done.returncode == 0, done.stderr
        pushed = hub.repos["datasets/me/rows"]
        assert hub.private["datasets/me/rows"]
    run_dir = home / "runs" / "metamathqa"
    assert set(pushed) == {"README.md", "MetaMathQA.json", "summary.json", "dataset/part-00000.parquet"}
    assert all(content == (run_dir / name).read_bytes() for name, content in pushed.items())
    assert hub.cards[0]["pretty_name"].startswith("MetaMathQA")
    assert f"pushed: {hub.url}/datasets/me/rows" in done.stdout
    assert done.stdout.splitlines()[-1] == str(run_dir / "summary.json")
    written = [path.read_bytes() for path in run_dir.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in content for content in [*written, done.stdout.encode()])


def test_a_hub_that_refuses_is_one_line_and_the_rows_are_there(home: Path, cluster: str) -> None:
    with serve_hub(TOKEN) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_another", "HF_HUB_DISABLE_XET": "1"}
        env["RAY_ADDRESS"] = cluster
        done = build(home, "--push-to-hub", "me/rows", **env)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert "could not be pushed to me/rows" in line
    assert "401" in line
    assert (home / "runs" / "metamathqa" / "MetaMathQA.json").is_file()


@pytest.mark.parametrize(
    ("repo", "env", "says"),
    [
        ("me/rows", {"HF_TOKEN": ""}, "environment variable HF_TOKEN"),
        ("rows", {"HF_TOKEN": TOKEN}, "push_to_hub must be OWNER/NAME, got 'rows'"),
    ],
    ids=["no-token", "no-owner"],
)
def test_a_push_that_can_not_work_is_said_before_the_build(
    repo: str, env: dict[str, str], says: str, tmp_path: Path
) -> None:
    done = build(tmp_path, "--push-to-hub", repo, **env)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert says in line
    assert not (tmp_path / "runs").exists()
