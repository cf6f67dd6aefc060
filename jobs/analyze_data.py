"""Study rows and evaluations: diversity gain, perplexity, overlap, accuracy by length, correlation over mixes.

    python jobs/analyze_data.py --analyses diversity overlap --data runs/metamathqa --base gsm8k:gsm8k_train.jsonl \\
        --embedder endpoint:https://HOST/v1 --embedding.model NAME --output runs/analysis
    python jobs/analyze_data.py --analyses perplexity --data runs/metamathqa --language-model model:MODEL_FOLDER
    python jobs/analyze_data.py --analyses length --evaluations runs/eval_a runs/eval_b
    python jobs/analyze_data.py --analyses correlation --mixes mixes.csv

The output folder gets a table a row of which is a row of the data (Parquet and CSV), report.html and summary.json.

Exit codes: 0 done, 2 bad input, 3 an endpoint failed (run the same command again), 1 failure, 130 interrupted.
"""

import logging
import sys
import time
from pathlib import Path

import _python  # noqa: F401  # before all that a wrong Python lacks

from metamath_ray.analysis import (
    AnalysisOptions,
    AnalysisPlan,
    EndpointFailedError,
    WorkersFailedError,
    plan_analysis,
    run_analyses,
)
from metamath_ray.interrupt import INTERRUPTED, end_on_signals
from metamath_ray.options import fail, parse_options
from metamath_ray.progress import show_duration
from metamath_ray.reports import write_analysis_report
from metamath_ray.start_ray import check_output, prepare_ray_data, start_ray

PROGRESS_S = 5.0


def main(argv: list[str]) -> None:
    """Run the job and end with its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    end_on_signals("error: interrupted; run the same command again")
    try:
        options = parse_options(AnalysisOptions, argv, prog="analyze_data.py", description=__doc__ or "")
        check_output(options.output, option="--output")
        summary = run(plan_analysis(options))
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        fail(str(error), 2)
    except EndpointFailedError as error:
        fail(f"{error}; vectors that came are kept, run the same command again", 3)
    except (WorkersFailedError, OSError) as error:
        fail(f"{type(error).__name__}: {error}", 1)
    except KeyboardInterrupt:  # said already
        sys.exit(INTERRUPTED)
    print(summary)


def run(plan: AnalysisPlan) -> Path:
    """Run the analyses with progress, then write the page; gives the summary's path."""
    if plan.needs_ray:
        start_ray(shows_worker_output=False)
        prepare_ray_data()
    progress = ProgressLines()
    summary = run_analyses(plan, on_progress=progress.show)
    progress.end()
    print(f"report: {write_analysis_report(summary.parent)}")
    return summary


class ProgressLines:
    """What is done: in place on a terminal, else a line every few seconds and one at the end of each step."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._what = ""
        self._begun_at = self._shown_at = 0.0
        self._begun_with = 0

    def show(self, what: str, done: int, total: int) -> None:
        """Print where the step stands, unless that was just done."""
        now = time.monotonic()
        if what != self._what:
            self.end()
            self._what, self._begun_at, self._begun_with = what, now, done
        elif done < total and now - self._shown_at < (0.2 if self._is_terminal else PROGRESS_S):
            return
        self._shown_at = now
        line = progress_line(what, done, total, new=done - self._begun_with, seconds=now - self._begun_at)
        print(
            f"\r\033[K{line}" if self._is_terminal else line,
            end="" if self._is_terminal else "\n",
            flush=True,
        )

    def end(self) -> None:
        """Begin a new line on a terminal."""
        if self._is_terminal and self._what:
            print()


def progress_line(what: str, done: int, total: int, *, new: int, seconds: float) -> str:
    """The step's figures; rate and time left count what was done since the step began."""
    parts = [f"{what}: {done:,}/{total:,}"]
    if new > 0 and seconds > 0:
        parts.append(f"{new / seconds:,.1f}/s")
        if done < total:
            parts.append(f"about {show_duration((total - done) * seconds / new)} left")
    return "  ".join(parts)


if __name__ == "__main__":
    main(sys.argv[1:])
