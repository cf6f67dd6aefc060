"""Write a run's ledger as one compressed file: to keep, or to give to others, who replay it without a key.

    python jobs/export_ledger.py --run-dir runs/metamathqa --output replies.jsonl.gz
    python jobs/build_metamathqa.py --ledger replies.jsonl.gz ...

Every reply once, as a line of JSON with its checksum; the same replies give the same file. A run that goes on may be
exported too: the file holds what it has stored so far. Last line on stdout: the file's path.

Exit codes: 0 done, 2 bad input, 1 failure.
"""

import logging
import sys

import _python  # noqa: F401  # before all that a wrong Python lacks

from metamath_ray.options import fail, parse_options
from metamath_ray.start_ray import check_output
from metamath_ray.teacher import ExportOptions, LedgerDamagedError, export_ledger


def main(argv: list[str]) -> None:
    """Run the job and end with its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        options = parse_options(ExportOptions, argv, prog="export_ledger.py", description=__doc__ or "")
        check_output(options.output, option="--output")
        folder = options.folder
    except ValueError as error:
        fail(str(error), 2)
    try:
        num_replies = export_ledger(folder, options.output)
    except (LedgerDamagedError, OSError) as error:
        fail(str(error), 1)
    print(f"{num_replies:,} replies, {options.output.stat().st_size / 1e6:,.1f} MB")
    print(options.output)


if __name__ == "__main__":
    main(sys.argv[1:])
