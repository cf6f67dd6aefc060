"""What SECURITY.md says, where no other test shows it: no code from data, no path out of a folder, pages without holes."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from metamath_ray.ablation._mixes import load_mixes
from metamath_ray.evaluation import EvaluationOptions, ServeOptions, resolve_model
from metamath_ray.problems import parse_spec
from metamath_ray.reports._evaluation_run import BadReportInputError, load_evaluation
from metamath_ray.training._model_files import check_model

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path for folder in ("metamath_ray", "jobs", "cluster") for path in sorted((ROOT / folder).rglob("*.py"))
]
PICKLES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
LOADERS = {"from_pretrained", "from_config"}
TEMPLATES = sorted((ROOT / "metamath_ray" / "reports" / "templates").glob("*.html.j2"))
OUTSIDE = ["../other", "/etc/passwd", "a/b", "..", "a\x00b", "a\n"]


def calls_in(path: Path) -> Iterator[tuple[str, dict[str | None, str], str]]:
    """Every call: the last part of its name, its keywords as text (None: a mapping), and the whole name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            whole = ast.unparse(node.func)
            yield (
                whole.rpartition(".")[2],
                {one.arg: ast.unparse(one.value) for one in node.keywords},
                whole,
            )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_runs_code_that_comes_as_data(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
        )
    }
    assert imported & PICKLES == set()
    for name, keywords, whole in calls_in(path):
        if whole == "torch.load":
            assert keywords.get("weights_only") == "True"
        if name in LOADERS and re.match(r"Auto|loader\b", whole):
            assert keywords.get("trust_remote_code", keywords.get(None)) not in (None, "True"), whole
        assert keywords.get("trust_remote_code", "False") == "False", whole
        assert keywords.get("allow_pickle", "False") == "False", whole


def test_the_mapping_that_a_loader_is_given_trusts_no_code() -> None:
    model = (ROOT / "metamath_ray" / "training" / "_model.py").read_text()
    assert '"trust_remote_code": False' in model


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_page_allows_no_script_but_its_own_and_escapes_all_else(path: Path) -> None:
    text = path.read_text()
    policies = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    if "<html" in text:
        (policy,) = policies
        assert policy.startswith("default-src 'none'; ")
        assert "script-src" not in policy or "script-src '{{ script_hash }}'" in policy
    assert not re.search(r"\|\s*safe\b|autoescape\s+false|\bon\w+=|javascript:", text)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_would_leave_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        EvaluationOptions.model_validate({"model": "m", "benchmarks": [f"{name}:{tmp_path / 'x.jsonl'}"]})
    with pytest.raises(ValueError, match="name"):
        parse_spec(f"{name}:{tmp_path / 'x.jsonl'}")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_mix_and_so_its_trial_has_no_name_that_would_leave_its_folder(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mixes.yaml"
    path.write_text(json.dumps({name: {"AnsAug": 1}}))
    with pytest.raises(ValueError, match="name must begin"):
        load_mixes([str(path)])


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/passwd", "folder/model.safetensors"])
def test_an_index_of_weights_names_only_files_beside_it(shard: str, tiny_model: Path, tmp_path: Path) -> None:
    for path in tiny_model.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(ValueError, match="no file beside it"):
        resolve_model(str(tmp_path))
    faults, _ = check_model(str(tmp_path))
    assert any("no file beside it" in fault for fault in faults)


def test_a_strangers_summary_names_no_table_outside(tmp_path: Path) -> None:
    summary = {"version": "1", "model": {}, "engine": {}, "graders": {}, "grader": "fixed", "seconds": 1}
    summary["benchmarks"] = {"../../private": {}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(BadReportInputError, match=r"benchmarks\.\.\./\.\./private\.\[key\]"):
        load_evaluation(tmp_path)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org"])
def test_a_server_that_others_reach_wants_a_key(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METAMATH_RAY_SERVE_KEY", raising=False)
    with pytest.raises(ValidationError, match="METAMATH_RAY_SERVE_KEY"):
        ServeOptions.model_validate({"model": "m", "host": host})
