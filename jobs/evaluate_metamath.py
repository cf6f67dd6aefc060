"""Evaluate a model on GSM8K, MATH, GSM8K-Backward, the bundled sets or your own problems: vLLM on Ray Serve.

    python jobs/evaluate_metamath.py --model runs/student --benchmarks gsm8k:test.jsonl bundled --output runs/eval
    python jobs/evaluate_metamath.py --base-url http://127.0.0.1:8000/v1 --prompt few-shot --benchmarks bundled
    python jobs/evaluate_metamath.py --output runs/eval --regrade
    python jobs/evaluate_metamath.py --compare runs/eval_a runs/eval_b --output runs/comparison

A run that was killed goes on where it was: run the same command again. Ctrl-C and SIGTERM end it within half a
minute, a second one at once.

Exit codes: 0 done, 2 bad input, 1 the engine or something else failed, 130 interrupted.
"""

import logging
import sys
import threading
import time
from pathlib import Path

import _python  # noqa: F401  # before all that a wrong Python lacks

from metamath_ray.answers import RuleSet
from metamath_ray.evaluation import (
    BenchmarkComparison,
    BenchmarkScores,
    EngineLostError,
    EngineStartError,
    Evaluation,
    EvaluationOptions,
    EvaluationStatus,
    compare_evaluations,
    load_summary,
    plan_evaluation,
    regrade_evaluation,
    write_comparison,
)
from metamath_ray.interrupt import INTERRUPTED, end_on_signals
from metamath_ray.options import fail, parse_options
from metamath_ray.progress import show_duration
from metamath_ray.reports import write_comparison_report, write_evaluation_report
from metamath_ray.start_ray import check_output

PROGRESS_S = 10.0


def main(argv: list[str]) -> None:
    """Run the job and end with its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    end_on_signals("error: interrupted; run the same command again to go on")
    try:
        options = parse_options(
            EvaluationOptions, argv, prog="evaluate_metamath.py", description=__doc__ or ""
        )
        check_output(options.output, option="--output")
        print(run(options))
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        fail(str(error), 2)
    except EngineStartError as error:
        fail(f"the engine did not start: {error}", 1)
    except EngineLostError as error:
        fail(f"{error}; run the same command again to go on", 1)
    except OSError as error:
        fail(f"{type(error).__name__}: {error}; run the same command again to go on", 1)
    except KeyboardInterrupt:  # said already
        sys.exit(INTERRUPTED)


def run(options: EvaluationOptions) -> Path:
    """Do what the options say; gives the path of what was written."""
    if options.compare:
        return compare(options)
    if options.regrade:
        return regrade(options)
    evaluation = Evaluation(plan_evaluation(options))
    summary = run_with_progress(evaluation)
    for scores in evaluation.scores:
        print(score_line(scores, options.grader))
    print(f"report: {write_evaluation_report(summary.parent)}")
    return summary


def score_line(scores: BenchmarkScores, grader: RuleSet) -> str:
    """A benchmark's headline, and its accuracy under the other rules."""
    total, fixed, paper = scores.under(grader).total, scores.fixed.total, scores.paper.total
    counts = f"{total.no_answer} no answer, {total.truncated} truncated"
    rest = f", {total.unknown} unknown" * bool(total.unknown) + f", {total.failed} failed" * bool(
        total.failed
    )
    return (
        f"{scores.name}: {total.correct}/{total.n} correct, {total.accuracy or 0:.1%} "
        f"({total.interval.low:.1%} to {total.interval.high:.1%}), {counts}{rest}; "
        f"fixed rules {fixed.accuracy or 0:.1%}, paper's {paper.accuracy or 0:.1%}"
    )


def compare(options: EvaluationOptions) -> Path:
    """B against A, on what both have, by the rules of B's headline or --grader: lines, the document and its page."""
    a, b = options.compare
    comparisons = compare_evaluations(a, b)
    grader = options.grader if "grader" in options.model_fields_set else load_summary(b)["grader"]
    for one in comparisons:
        print(comparison_line(one, grader))
    output = options.output if "output" in options.model_fields_set else b
    document = write_comparison(comparisons, a=a, b=b, output=output)
    print(f"report: {write_comparison_report(a, b, output=output, grader=grader)}")
    return document


def comparison_line(one: BenchmarkComparison, grader: RuleSet) -> str:
    """A benchmark's difference under the headline's rules, and how much of the two runs is not the same."""
    paired = one.fixed if grader == "fixed" else one.paper
    parts = [
        f"{one.name}: {one.n} problems, {paired.correct_a} -> {paired.correct_b} correct ({paired.difference:+.1%}, "
        f"95 % {paired.interval.low:+.1%} to {paired.interval.high:+.1%}, McNemar p {paired.p_value:.2g})",
        f"{one.num_other_completions} completions differ ({one.num_other_completions / one.n:.1%})",
        f"{paired.num_other_verdicts} verdicts differ ({paired.num_other_verdicts / one.n:.1%})",
        f"{len(paired.flips)} flipped",
    ]
    if one.num_other_prompts:
        parts.append(f"{one.num_other_prompts} were asked in other words")
    if one.missing_in_a or one.missing_in_b:
        parts.append(f"{one.missing_in_b} problems only in A, {one.missing_in_a} only in B")
    return "; ".join(parts)


def regrade(options: EvaluationOptions) -> Path:
    """The saved predictions by today's rules: a line a benchmark, summary and page anew."""
    grader = options.grader if "grader" in options.model_fields_set else None
    summary, regraded = regrade_evaluation(options.output, grader=grader)
    for name, one in regraded.items():
        changes = ", ".join(f"{number} by the {rules} rules" for rules, number in one.num_changed.items())
        print(f"{name}: {len(one.predictions)} completions, other verdicts: {changes}")
    print(f"report: {write_evaluation_report(summary.parent)}")
    return summary


def run_with_progress(evaluation: Evaluation) -> Path:
    """Run the evaluation while a thread prints what is done every few seconds; its scores at the end."""
    ended = threading.Event()
    printer = threading.Thread(target=print_progress, args=(evaluation, ended), daemon=True)
    printer.start()
    try:
        return evaluation.run()
    finally:
        ended.set()
        printer.join()


def print_progress(evaluation: Evaluation, ended: threading.Event) -> None:
    """A line every few seconds, in place on a terminal."""
    start, end = ("\r\033[K", "") if sys.stdout.isatty() else ("", "\n")
    started = time.monotonic()
    while not ended.wait(PROGRESS_S):
        print(start + progress_line(evaluation.status(), time.monotonic() - started), end=end, flush=True)
    if sys.stdout.isatty():
        print()


def progress_line(status: EvaluationStatus, seconds: float) -> str:
    """What is done, how fast, what is left, what share is right so far."""
    done = status.num_reused + status.answered
    if status.phase != "asking":
        return f"{status.phase}, {done}/{status.num_all} completions saved, {seconds:.0f} s"
    parts = [f"{done}/{status.num_all} completions"]
    if status.graded:
        parts.append(f"{status.correct / status.graded:.1%} right")
    if status.answered:
        left_s = (status.num_all - done) * status.asking_s / status.answered
        parts.append(f"{status.answered / status.asking_s:.1f}/s")
        parts.append(f"{status.completion_tokens / status.asking_s:,.0f} tokens/s")
        parts.append(f"about {show_duration(left_s)} left")
    parts.append(f"{status.in_flight} in flight")
    if status.retries:
        parts.append(f"{status.retries} retries")
    return "  ".join(parts)


if __name__ == "__main__":
    main(sys.argv[1:])
