"""The samples that the page's browser holds: a small, fixed share of all candidates, with their texts."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from metamath_ray.released import released_type
from metamath_ray.reports._run import Run
from metamath_ray.reports._scan import Pick, Scan, read_batches, share_out

MAX_SAMPLES = 400
"""Candidates in the browser at most."""

MAX_CHARS = 4_000
"""Characters of one text on the page at most; a longer one says how many are left out."""

MAX_BYTES = 1_300_000
"""Of all samples together, so that the page stays below 2 MB whatever the teacher wrote."""

_COLUMNS = [
    "question_id",
    "seed_id",
    "source",
    "augmentation",
    "question",
    "expected",
    "response",
    "extracted",
    "verdict",
    "request_key",
    "failure",
]

_SHORT = 200


def load_samples(run: Run, scan: Scan) -> list[dict[str, Any]]:
    """At most `MAX_SAMPLES` candidates, the same for the same candidates however they lie in files.

    Every pair of type and verdict gets an equal share as far as it has that many; within it the smallest
    digests of their ids. They come one of each pair in turn; where `MAX_BYTES` would be passed, the last go.
    """
    quotas = share_out({stratum: len(picks) for stratum, picks in scan.picks.items()}, MAX_SAMPLES)
    ranked = sorted(
        (rank, stratum, pick)
        for stratum, picks in scan.picks.items()
        for rank, pick in enumerate(picks[: quotas[stratum]])
    )
    chosen = [pick for _, _, pick in ranked]
    texts = _read_rows(run.candidates, chosen)
    samples = _within_budget(texts[pick] for pick in chosen)
    _mark_selected(samples, run.dataset)
    return samples


def embed_json(value: Any) -> Markup:
    """JSON that is safe inside a `<script>` element, whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  # escaped above: no markup can begin or end in it


def clip(text: str, limit: int = MAX_CHARS) -> str:
    """The text, or its beginning and how much is left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … [{len(text) - limit:,} more characters not shown]"


def _read_rows(paths: Sequence[Path], picks: Iterable[Pick]) -> dict[Pick, dict[str, Any]]:
    wanted: dict[int, dict[int, Pick]] = defaultdict(dict)
    for pick in picks:
        wanted[pick.file][pick.row] = pick
    found: dict[Pick, dict[str, Any]] = {}
    for file, rows in wanted.items():
        start = 0
        for batch in read_batches(paths[file], _COLUMNS):
            here = [row for row in rows if start <= row < start + len(batch)]
            texts = batch.take([row - start for row in here]).to_pylist() if here else []
            found.update((rows[row], text) for row, text in zip(here, texts, strict=True))
            start += len(batch)
    return found


def _within_budget(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        sample = _sample(row)
        size += len(embed_json(sample).encode("utf-8", "replace")) + 1
        if size > MAX_BYTES:
            break
        samples.append(sample)
    return samples


def _sample(row: Mapping[str, Any]) -> dict[str, Any]:
    short = {name: clip(row[name] or "", _SHORT) for name in ("expected", "extracted", "failure")}
    long = {name: clip(row[name] or "") for name in ("question", "response")}
    ids = {name: row[name] or "" for name in ("verdict", "seed_id", "augmentation", "request_key")}
    return {
        "type": released_type(row["source"], row["augmentation"]),
        **ids,
        **short,
        **long,
        "selected": False,
    }


def _mark_selected(samples: list[dict[str, Any]], dataset: Sequence[Path]) -> None:
    """Set `selected` where a row of the dataset came from the same reply to the same question."""
    by_key = defaultdict(list)
    for sample in samples:
        by_key[sample["request_key"], sample["seed_id"], sample["augmentation"]].append(sample)
    for path in dataset:
        for batch in read_batches(path, ["request_key", "seed_id", "augmentation"]):
            for row in batch.to_pylist():
                for sample in by_key.get((row["request_key"], row["seed_id"], row["augmentation"]), ()):
                    sample["selected"] = True
