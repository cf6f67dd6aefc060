"""Our evaluation against lm-evaluation-harness, item by item: same server, same prompt, greedy, same limits.

    python jobs/serve_model.py --model MODEL_FOLDER --exact --port 8000
    python tests/benchmarks/evaluation/check_against_lm_eval.py --base-url http://127.0.0.1:8000/v1 \\
        --lm-eval VENV/bin/python --benchmark gsm8k:gsm8k_test.jsonl --num 100 --output runs/lm_eval

lm-eval (`pip install lm-eval[api]`) lives in an environment of its own. It renders our prompt by a task written here, asks
through its `local-completions` model, and grades by the filters of its own gsm8k task and by a third one for our answer
sentence. Expected from a server in exact mode: every prompt and every completion the same. The verdicts then differ by
extraction alone; each such item is printed with the reason, and kept in `differences.json`.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from metamath_ray.evaluation import PAPER_MAX_NEW_TOKENS, PAPER_STOP, Prediction, load_all_predictions
from metamath_ray.evaluation._clients import cut_at_stop
from metamath_ray.problems import compute_arithmetic
from metamath_ray.student_prompt import render_evaluation_prompt

ROOT = Path(__file__).resolve().parents[3]
TASK = "metamath_gsm"
OUR_FILTER = "answer-sentence"


@dataclass(frozen=True)
class Theirs:
    """What lm-eval has of one item under one filter."""

    problem_id: str
    filter: str
    prompt: str
    completion: str
    extracted: str
    is_correct: bool


@dataclass(frozen=True)
class Difference:
    """An item that one side counts as correct and the other does not, and why."""

    problem_id: str
    filter: str
    expected: str
    ours: str | None
    theirs: str
    verdict: str
    reason: str


def main() -> None:
    """Run both sides and print where they differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--lm-eval", required=True, type=Path, help="the Python of lm-eval's own environment")
    parser.add_argument("--benchmark", default="bundled")
    parser.add_argument("--num", type=int, default=100)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--ours", type=Path, help="a finished evaluation to compare, instead of asking")
    args = parser.parse_args()
    args.output = args.output.resolve()
    predictions = run_ours(args)
    theirs = run_theirs(args, predictions)
    report(predictions, theirs, args.output / "differences.json")


def run_ours(args: argparse.Namespace) -> tuple[Prediction, ...]:
    """Our evaluation of the server, as a user runs it."""
    folder = args.ours or args.output / "ours"
    if not args.ours:
        command = [
            sys.executable, str(ROOT / "jobs" / "evaluate_metamath.py"), "--base-url", args.base_url,
            "--benchmarks", args.benchmark, "--limit", str(args.num), "--max-in-flight", str(args.in_flight),
            "--output", str(folder),
        ]  # fmt: skip
        subprocess.run(command, check=True)
    (predictions,) = load_all_predictions(folder).values()
    return predictions


def run_theirs(args: argparse.Namespace, predictions: Sequence[Prediction]) -> list[Theirs]:
    """lm-eval's evaluation of the same problems on the same server."""
    output = args.output / "lm_eval"
    task = write_task(args.output / "task", predictions, stock_task(args.lm_eval))
    model_args = {
        "model": served_model(args.base_url),
        "base_url": f"{args.base_url}/completions",
        "num_concurrent": args.in_flight,
        "tokenizer_backend": None,  # the prompt goes as text, the server tokenizes
        "timeout": 7200,
    }
    command = [
        str(args.lm_eval), "-m", "lm_eval", "--model", "local-completions", "--batch_size", "1", "--log_samples",
        "--model_args", ",".join(f"{name}={value}" for name, value in model_args.items()),
        "--include_path", str(task.parent), "--tasks", TASK, "--output_path", str(output),
    ]  # fmt: skip
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    subprocess.run(command, check=True, env={"OPENAI_API_KEY": "none"} | os.environ | offline)
    newest = max(output.rglob(f"samples_{TASK}_*.jsonl"), key=lambda path: path.stat().st_mtime)
    return [read_sample(json.loads(line)) for line in newest.read_text().splitlines()]


def stock_task(python: Path) -> dict[str, Any]:
    """lm-eval's own gsm8k task, from its installation."""
    code = "import lm_eval.tasks, pathlib; print(pathlib.Path(lm_eval.tasks.__file__).parent)"
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    text = (Path(found.stdout.strip()) / "gsm8k" / "gsm8k.yaml").read_text()
    stock: dict[str, Any] = yaml.safe_load(text)
    return stock


def write_task(folder: Path, predictions: Sequence[Prediction], stock: dict[str, Any]) -> Path:
    """The task: our template, stop strings and limits; lm-eval's filters and metric, and a filter of ours."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"problem_id": one.problem_id, "question": one.question, "answer": one.expected}
        for one in predictions
    ]
    data = folder / "problems.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sentence = {"function": "regex", "regex_pattern": r"The answer is:?\s*\$?(-?[\d.,]*\d)"}
    ours = {"name": OUR_FILTER, "filter": [sentence, {"function": "take_first"}]}
    task = {
        "task": TASK,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "generate_until",
        "num_fewshot": 0,
        "doc_to_text": render_evaluation_prompt("{{question}}"),
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {
            "until": ["Instruction", "Response", "Question"],  # lm-eval adds one, and servers take four
            "do_sample": False,
            "temperature": 0.0,
            "max_gen_toks": PAPER_MAX_NEW_TOKENS["gsm"],
        },
        "filter_list": [*stock["filter_list"], ours],
        "metric_list": stock["metric_list"],
        "metadata": {"version": 1.0},
    }
    path = folder / f"{TASK}.yaml"
    path.write_text(yaml.safe_dump(task, sort_keys=False, allow_unicode=True))
    return path


def served_model(base_url: str) -> str:
    """The name of the only model that the server has."""
    from openai import OpenAI

    client = OpenAI(base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY") or "none")
    (model,) = client.models.list().data
    return model.id


def read_sample(row: dict[str, Any]) -> Theirs:
    """A line of lm-eval's log of samples."""
    return Theirs(
        problem_id=row["doc"]["problem_id"],
        filter=row["filter"],
        prompt=row["arguments"]["gen_args_0"]["arg_0"],
        completion=cut_at_stop(row["resps"][0][0], PAPER_STOP),
        extracted=str(row["filtered_resps"][0]),
        is_correct=bool(row["exact_match"]),
    )


def report(predictions: Sequence[Prediction], theirs: Sequence[Theirs], path: Path) -> None:
    """Print what is the same, and every item whose verdict is not."""
    by_id = {one.problem_id: one for one in predictions}
    filters = list(dict.fromkeys(one.filter for one in theirs))
    first = [one for one in theirs if one.filter == filters[0]]
    assert {one.problem_id for one in first} == by_id.keys(), "lm-eval asked for other problems"
    print(f"same prompts: {sum(one.prompt == by_id[one.problem_id].prompt for one in first)} of {len(first)}")
    same = sum(one.completion == by_id[one.problem_id].completion for one in first)
    print(f"same completions: {same} of {len(first)}")
    for rules in ("fixed", "paper"):
        print(f"ours, {rules} rules: {sum(one.verdict(rules) == 'correct' for one in predictions)} correct")
    differences: list[Difference] = []
    for name in filters:
        rows = [one for one in theirs if one.filter == name]
        found = [made for one in rows if (made := explain(by_id[one.problem_id], one)) is not None]
        print(f"lm-eval, {name}: {sum(one.is_correct for one in rows)} correct, {len(found)} verdicts differ")
        for reason, number in Counter(one.reason for one in found).most_common():
            print(f"  {number} x {reason}")
        for one in found:
            print(
                f"    {one.problem_id}: gold {one.expected}, ours {one.ours} ({one.verdict}), theirs {one.theirs}"
            )
        differences += found
    path.write_text(json.dumps([asdict(one) for one in differences], indent=2) + "\n")
    print(path)


def explain(ours: Prediction, theirs: Theirs) -> Difference | None:
    """Why the fixed verdict is not lm-eval's; None where it is."""
    if (ours.verdict_fixed == "correct") == theirs.is_correct:
        return None
    return Difference(
        ours.problem_id, theirs.filter, ours.expected, ours.extracted_fixed, theirs.extracted,
        ours.verdict_fixed, _reason(ours, theirs),
    )  # fmt: skip


def _reason(ours: Prediction, theirs: Theirs) -> str:
    if ours.completion != theirs.completion:
        return "the completions differ"
    if theirs.extracted == "[invalid]":
        return "lm-eval's pattern does not occur in the text"
    if not any(character.isdigit() for character in theirs.extracted):
        return "lm-eval takes punctuation for a number"
    if ours.extracted_fixed is None:
        return "no final answer by our rules; lm-eval takes a number of the text"
    mine, other = (compute_arithmetic(_bare(text)) for text in (ours.extracted_fixed, theirs.extracted))
    if mine is not None and mine == other:
        return "the same number, which lm-eval compares as text"
    return "another number is taken for the answer"


def _bare(text: str) -> str:
    return text.strip().strip("$").rstrip(".").replace(",", "")


if __name__ == "__main__":
    main()
