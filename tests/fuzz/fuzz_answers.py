"""Coverage-guided fuzz target for the answers package.

    python -m pip install atheris                         # in a virtual environment of its own
    python tests/fuzz/fuzz_answers.py -max_total_time=300 [CORPUS_DIR]

Takes libFuzzer's flags; without a corpus it starts from the golden cases. An exception that escapes, an
input that takes more than a second of CPU time, or anything executed ends the run and leaves the input in
`crash-*`; `python tests/fuzz/fuzz_answers.py crash-…` repeats it. Exit code 0: nothing was found; 2: atheris
is not installed. See `answers_invariants.py` for what is checked.

Expect: 300 s of a busy two-core machine give 24,000 to 38,000 runs and no finding; `-len_control=0` tries long
inputs from the start. Its first run found 100 spaces that cost a regular expression 2 s: now a hostile case.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

DICTIONARY = Path(__file__).with_name("answers.dict")


def main(arguments: list[str]) -> None:
    """Run libFuzzer on the invariants; does not return."""
    try:
        import atheris
    except ImportError:
        print(
            "fuzz_answers needs atheris, which is not installed: python -m pip install atheris",
            file=sys.stderr,
        )
        sys.exit(2)
    with atheris.instrument_imports(include=["metamath_ray.answers"]):
        from answers_invariants import MAX_BYTES, canary_path, check_answers, write_seeds

    canary = canary_path()
    options = [f"-max_len={MAX_BYTES}", "-timeout=20", f"-dict={DICTIONARY}", *arguments]
    if all(argument.startswith("-") for argument in arguments):
        corpus = canary.parent / "corpus"
        corpus.mkdir()
        print(f"{write_seeds(corpus, canary)} seeds from the golden cases in {corpus}", file=sys.stderr)
        options.append(str(corpus))
    atheris.Setup([sys.argv[0], *options], lambda data: check_answers(data, canary))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
