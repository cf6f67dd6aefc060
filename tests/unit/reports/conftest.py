"""A small finished build, made up, with replies that try to break out of the page."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

HOSTILE = [
    "<script>document.title='owned'</script>",
    "</script><script>document.title='owned'</script><!--",
    '"><img src=x onerror="document.title=\'owned\'">',
    "line\u2028and\u2029paragraph & <b>bold</b> {{ 7 * 7 }} \x00 end",
]

SECRET = "sk-very-secret-0123456789"

VERDICTS = ["correct", "incorrect", "no_answer", "truncated", "failed"]
SHARES = [50, 38, 5, 4, 3]
SUFFIX = {
    "answer_augmentation": "AnsAug",
    "rephrasing": "Rephrased",
    "self_verification": "SV",
    "fobar": "FOBAR",
}
PREFIX = {"gsm8k": "GSM", "math": "MATH", "bundled": "BUNDLED"}


def make_candidates(
    num: int, *, sources: tuple[str, ...] = ("gsm8k", "math"), seed: int = 0
) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [_candidate(draw, index, sources) for index in range(num)]


def _candidate(draw: random.Random, index: int, sources: tuple[str, ...]) -> dict[str, Any]:
    source = draw.choice(sources)
    augmentation = draw.choices(list(SUFFIX), [4, 4, 2, 2])[0]
    verdict = draw.choices(VERDICTS, SHARES)[0]
    crates, price = draw.randint(3, 90), draw.randint(2, 40)
    question = (
        f"A market stall sells {crates} crates of apples at ${price} a crate. "
        + "The owner gives a tenth of the money to her brother. " * draw.randint(0, 3)
        + f"How much money does she keep on day {index}?"
    )
    steps = "".join(
        f"Step {i + 1}: {crates} * {price} = {crates * price}.\n" for i in range(draw.randint(1, 9))
    )
    answer = str(crates * price)
    hostile = HOSTILE[index] if index < len(HOSTILE) else ""
    return {
        "question_id": f"{source}-train-{index // 2}/{augmentation}/{index}",
        "seed_id": f"{source}-train-{index // 2}",
        "source": source,
        "augmentation": augmentation,
        "question": question + hostile,
        "expected": answer,
        "sample_index": index % 2,
        "response": "" if verdict == "failed" else f"{hostile}{steps}The answer is: {answer}",
        "extracted": answer if verdict == "correct" else "7" if verdict == "incorrect" else "",
        "verdict": verdict,
        "finish_reason": "length" if verdict == "truncated" else "stop",
        "prompt_tokens": 700,
        "completion_tokens": 40 + len(steps) // 4,
        "request_key": hashlib.sha256(str(index).encode()).hexdigest(),
        "teacher": "qwen2.5-test",
        "decided_by": "number",
        "failure": "empty" if verdict == "failed" else "",
        "mask_start": -1,
        "mask_end": -1,
    }


def write_run(folder: Path, candidates: list[dict[str, Any]], *, num_files: int = 2) -> Path:
    """A run directory as a build leaves it; every second correct path is a row, the rest is over target."""
    correct = [row for row in candidates if row["verdict"] == "correct"]
    rows = [_row(candidate) for candidate in correct[::2]]
    _write_table(folder / "candidates", candidates, num_files)
    _write_table(folder / "dataset", rows, 1)
    (folder / "summary.json").write_text(json.dumps(_summary(candidates, rows)), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump(_config()), encoding="utf-8")
    return folder


def _write_table(folder: Path, rows: list[dict[str, Any]], num_files: int) -> None:
    folder.mkdir(parents=True)
    for file in range(num_files):
        part = rows[file::num_files]
        pq.write_table(pa.Table.from_pylist(part), folder / f"part-{file:05d}.parquet")


def _type(row: dict[str, Any]) -> str:
    return f"{PREFIX[row['source']]}_{SUFFIX[row['augmentation']]}"


def _row(candidate: dict[str, Any]) -> dict[str, Any]:
    kept = {
        name: candidate[name] for name in ("seed_id", "source", "augmentation", "expected", "request_key")
    }
    texts = {"type": _type(candidate), "query": candidate["question"], "original_question": "What is it?"}
    return {
        **texts,
        "response": candidate["response"],
        "row_id": candidate["request_key"][:16],
        **kept,
        "teacher": "t",
    }


def _summary(candidates: list[dict[str, Any]], rows: list[dict[str, Any]]) -> dict[str, Any]:
    counts = Counter((_type(row), row["verdict"]) for row in candidates)
    selected = Counter(row["type"] for row in rows)
    by_type = {
        kind: {
            "questions": sum(counts[kind, verdict] for verdict in VERDICTS) // 2 + 1,
            "unusable_questions": 3,
            "paths": sum(counts[kind, verdict] for verdict in VERDICTS),
            **{verdict: counts[kind, verdict] for verdict in VERDICTS},
            "selected": selected[kind],
            "false_steps": selected[kind] // 3,
            "target": 40 if kind.endswith("AnsAug") else None,
        }
        for kind in sorted({kind for kind, _ in counts})
    }
    over = {kind: by_type[kind]["correct"] - selected[kind] for kind in by_type}
    example = {"type": "GSM_SV", "question": HOSTILE[0], "response": HOSTILE[1] * 60, "against": HOSTILE[2]}
    tokens = {"prompt_tokens": 1_234_567, "completion_tokens": 234_567, "usd": 1.375}
    teacher = {"model": "qwen2.5-test", "calls_made": 4321, "calls_reused": 987, "calls_failed": 6, **tokens}
    return {
        "version": "0.1.0",
        "seeds": 321,
        "seeds_by_source": {"gsm8k": 200, "math": 121},
        "skipped_rows": 2,
        "duplicate_seeds": 1,
        "teacher": teacher | {"http_429": 8, "retries": 9},
        "ledger": {"replies": 5678, "prompt_tokens": 2_345_678, "completion_tokens": 345_678, "usd": 2.5},
        "by_type": by_type,
        "rounds": 2,
        "dropped": {"contaminated": {}, "over_target": over},
        "dropped_examples": {"over_target": [example]},
        "rows": len(rows),
        "dataset_sha256": hashlib.sha256(b"rows").hexdigest(),
        "compat": "fixed",
        "seconds": 3725.4,
    }


def _config() -> dict[str, Any]:
    teacher = {
        "base_url": f"http://user:{SECRET}@127.0.0.1:8000/v1?token={SECRET}",
        "model": "qwen2.5-test",
        "api_key_env": "OPENAI_API_KEY",
        "api_key": SECRET,
        "temperature": 0.7,
        "max_tokens": 512,
        "usd_per_million_prompt_tokens": 0.5,
        "usd_per_million_completion_tokens": 1.5,
    }
    return {
        "run_dir": "runs/test",
        "seeds": ["gsm8k", "math"],
        "teacher": teacher,
        "decontaminate": [],
        "seed": 0,
        "plan": False,
        "metamath_ray_version": "0.1.0",
        "prompts_sha256": "ab" * 32,
        "seeds_sha256": "cd" * 32,
    }


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", make_candidates(600))


@pytest.fixture
def edit_summary(run_dir: Path) -> Callable[..., None]:
    def edit(**changes: Any) -> None:
        path = run_dir / "summary.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")

    return edit


class Page(HTMLParser):
    """The tags, the visible text, and the scripts of a page, as a browser's parser splits them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag
            self.scripts += [""] * (tag == "script")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.words += data
