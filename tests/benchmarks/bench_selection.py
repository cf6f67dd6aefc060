"""Time and memory of selecting training rows from synthetic candidates, every rule switched on.

Run: `python tests/benchmarks/bench_selection.py [NUM_CANDIDATES …]`, one process for each size.
"""

import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from metamath_ray.bootstrap._contamination import ContaminationIndex
from metamath_ray.bootstrap._duplicates import DEFAULT_NEAR_DUPLICATE_THRESHOLD
from metamath_ray.bootstrap._selection import select_rows
from metamath_ray.bootstrap._selection_records import SelectionCandidate, SelectionRules

SHARES = {"answer_augmentation": 20, "rephrasing": 20, "self_verification": 10, "fobar": 10}
PATHS_PER_SEED = sum(SHARES.values())
VOCABULARY = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "l", "m", "ck")]


def make_candidates(num_candidates: int) -> Iterator[SelectionCandidate]:
    """Seeds of 45 words, 60 paths of 80 words each; of five paths one is a copy, one is another's edit."""
    rng = random.Random(0)
    for seed in range(num_candidates // PATHS_PER_SEED):
        original = _make_text(rng, 45)
        for augmentation, share in SHARES.items():
            text, path = original, ""
            for sample in range(share):
                if augmentation != "answer_augmentation" and sample % 5 == 0:
                    text = _make_text(rng, 45)
                path = path if sample % 5 > 2 else _make_text(rng, 80)
                ending = "indeed" if sample % 5 == 4 else "so"
                yield _make_candidate(seed, augmentation, text, original, sample, f"{path} {ending}")


def _make_text(rng: random.Random, num_words: int) -> str:
    words = rng.choices(VOCABULARY, k=num_words)
    for place in range(4, num_words, 9):
        words[place] = str(place)
    return " ".join(words)


def _make_candidate(
    seed: int, augmentation: str, text: str, original: str, sample: int, path: str
) -> SelectionCandidate:
    return SelectionCandidate(
        question_id=f"gsm8k-train-{seed}/{augmentation}/{sample // 5}",
        seed_id=f"gsm8k-train-{seed}",
        source="gsm8k",
        augmentation=augmentation,
        type=f"GSM_{augmentation}",
        question=text,
        response=f"{path}.\nThe answer is: 7",
        sample_index=sample,
        request_key=f"{augmentation} {seed:020x}{sample:016x}",
        expected="7",
        teacher="synthetic",
        original_question=original,
    )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(num_candidates: int) -> str:
    """One line: CPU seconds to select, and peak memory before (candidates as a list) and after."""
    rng = random.Random(1)
    index = ContaminationIndex.from_questions({"test": [_make_text(rng, 45) for _ in range(7589)]})
    candidates = list(make_candidates(num_candidates))
    targets = {("gsm8k", name): num_candidates * share // 100 for name, share in SHARES.items()}
    rules = SelectionRules(
        targets=targets, near_duplicate_threshold=DEFAULT_NEAR_DUPLICATE_THRESHOLD, contamination=index
    )
    before_mb = _peak_mb()
    start = time.process_time()
    selection = select_rows(candidates, rules)
    seconds = time.process_time() - start
    dropped = {reason: sum(counts.values()) for reason, counts in selection.dropped.items()}
    return (
        f"{len(candidates):>7} candidates  {len(selection.rows):>7} rows  {seconds:6.1f} CPU s  "
        f"{before_mb:6.0f} MB before  {_peak_mb():6.0f} MB peak  {dropped}"
    )


def main() -> None:
    sizes = sys.argv[1:] or ["40000", "160000"]
    if len(sizes) == 1:
        print(measure(int(sizes[0])), flush=True)
        return
    for size in sizes:
        subprocess.run([sys.executable, __file__, size], check=True)


if __name__ == "__main__":
    main()
