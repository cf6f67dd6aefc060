"""Coverage-guided fuzz target for the answers package.

    python -m pip install atheris        # in a virtual environment of its own; Linux and macOS wheels
    python tests/benchmarks/answers/fuzz_answers.py -max_total_time=300 [CORPUS_DIR]

Any exception that escapes, or a pair that takes more than a second, ends the run with the input.
The symbolic step is left out: it is another process, killed at its limit.
"""

import sys
import time
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("atheris is not installed: python -m pip install atheris")

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

with atheris.instrument_imports(include=["metamath_ray.answers"]):
    from metamath_ray.answers import clean_number_paper, equal, extract, find_boxed

_SECONDS = 1.0


def fuzz_one(data: bytes) -> None:
    """Split the input at its first zero byte into a prediction and a gold."""
    first, _, second = data.partition(b"\0")
    predicted, gold = (part.decode("utf-8", "surrogateescape") for part in (first, second))
    begin = time.process_time()
    find_boxed(predicted)
    clean_number_paper(predicted)
    for source in ("gsm", "math"):
        for rules in ("fixed", "paper"):
            extract(predicted, source, rules=rules)
            extract(f"The answer is: {predicted}", source, rules=rules)
            equal(predicted, gold, source=source, rules=rules, symbolic=False)
            same = equal(predicted, predicted, source=source, rules=rules, symbolic=False).verdict
            if rules == "fixed" and predicted.strip():
                assert same == "correct", (predicted, same)
    seconds = time.process_time() - begin
    assert seconds < _SECONDS, f"{seconds:.1f} s for {data!r}"


if __name__ == "__main__":
    atheris.Setup(sys.argv, fuzz_one)
    atheris.Fuzz()
