"""Buys a few replies in batches, for tests that kill the process which does it.

python tests/batch_driver.py FOLDER BASE_URL
"""

import sys
from pathlib import Path
from typing import Any

from metamath_ray.teacher import (
    ApiKey,
    BatchTeacher,
    ChatRequest,
    LedgerReader,
    TeacherOptions,
    build_index,
    segment_paths,
)

NUM_PROMPTS = 10
SAMPLES_A_PROMPT = 3
NUM_SAMPLES = NUM_PROMPTS * SAMPLES_A_PROMPT


def batch_options(base_url: str, **options: Any) -> TeacherOptions:
    batch = {"poll_every": 0.02, "max_requests": 4} | options.pop("batch", {})
    given = {"base_url": base_url, "model": "double-1", "interface": "batch", "give_up_after": 5.0}
    return TeacherOptions(**given | options, batch=batch)


def requests() -> list[ChatRequest]:
    prompts = (f"What is {number} + 1?" for number in range(NUM_PROMPTS))
    return [ChatRequest(({"role": "user", "content": text},), 0, SAMPLES_A_PROMPT) for text in prompts]


def open_teacher(folder: Path, options: TeacherOptions, **more: Any) -> BatchTeacher:
    reader = LedgerReader(build_index(segment_paths(folder / "ledger")))
    return BatchTeacher(
        options,
        **{"api_key": ApiKey("sk-right")} | more,
        folder=folder / "batches",
        ledger_folder=folder / "ledger",
        reader=reader,
    )


if __name__ == "__main__":
    teacher = open_teacher(Path(sys.argv[1]), batch_options(sys.argv[2]))
    teacher.buy(requests)
