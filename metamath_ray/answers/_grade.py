"""The public functions: extract, compare, grade, under either rule set."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from metamath_ray.answers._extract import extract_fixed
from metamath_ray.answers._fixed import equal_cheaply, equal_symbolically
from metamath_ray.answers._paper import equal_paper, extract_paper
from metamath_ray.answers._symbolic_pool import SymbolicPool, default_pool
from metamath_ray.answers._types import OTHER_STRING, UNKNOWN, AnswerStyle, Comparison, Graded, RuleSet


def extract(text: str, source: AnswerStyle, *, rules: RuleSet = "fixed") -> str | None:
    """Give the cleaned final answer of a reply, None where there is none. Never raises on any text.

    Fixed: after the last `The answer is:`, else in the last box, else after the last `####`. Paper:
    after the last `The answer is: ` only; for `gsm` its first number rounded, as the original does.
    """
    return extract_fixed(text, source) if rules == "fixed" else extract_paper(text, source)


def equal(
    predicted: str | None,
    gold: str,
    *,
    source: AnswerStyle = "math",
    rules: RuleSet = "fixed",
    symbolic: bool = True,
) -> Comparison:
    """Compare an extracted answer with the gold. Never raises on any text.

    Most pairs take microseconds; the few that reach the symbolic step block for its time limit at most
    (2 s of CPU time), so that asyncio code calls this in a thread. `symbolic=False` leaves that step out: such a
    pair, and one whose values are too near each other to tell (else `unknown`), is then `incorrect`,
    decided by `string`.
    """
    if rules == "paper":
        return equal_paper(predicted, gold, source)
    comparison = equal_cheaply(predicted, gold, source)
    if comparison == UNKNOWN and not symbolic:
        return OTHER_STRING
    if comparison is not None or predicted is None:
        return comparison or OTHER_STRING
    return equal_symbolically(predicted, gold, default_pool()) if symbolic else OTHER_STRING


def grade(
    text: str, gold: str, *, source: AnswerStyle, rules: RuleSet = "fixed", symbolic: bool = True
) -> Graded:
    """Extract a reply's final answer and compare it with the gold.

    `symbolic=False` makes the verdict a pure function of the texts: no time limit can change it.
    """
    predicted = extract(text, source, rules=rules)
    return _graded(predicted, equal(predicted, gold, source=source, rules=rules, symbolic=symbolic))


def grade_many(
    items: Iterable[tuple[str, str]],
    *,
    source: AnswerStyle,
    rules: RuleSet = "fixed",
    pool: SymbolicPool | None = None,
) -> list[Graded]:
    """Grade pairs of reply and gold, in order.

    Equal to `grade` on each, but a pair of answers that needs the symbolic step is compared once
    however often it occurs, and as many at a time as the pool has workers.
    """
    answers = [(extract(text, source, rules=rules), gold) for text, gold in items]
    if rules == "paper":
        return [_graded(predicted, equal_paper(predicted, gold, source)) for predicted, gold in answers]
    cheap = [equal_cheaply(predicted, gold, source) for predicted, gold in answers]
    undecided = {
        (predicted, gold)
        for (predicted, gold), comparison in zip(answers, cheap, strict=True)
        if comparison is None and predicted is not None
    }
    symbolic = _compare_symbolically(sorted(undecided), pool) if undecided else {}
    return [
        _graded(predicted, comparison or symbolic[predicted or "", gold])
        for (predicted, gold), comparison in zip(answers, cheap, strict=True)
    ]


def _graded(predicted: str | None, comparison: Comparison) -> Graded:
    return Graded(predicted, comparison.verdict, comparison.decided_by)


def _compare_symbolically(
    pairs: list[tuple[str, str]], pool: SymbolicPool | None
) -> dict[tuple[str, str], Comparison]:
    pool = pool or default_pool()
    with ThreadPoolExecutor(max_workers=pool.num_workers) as executor:
        comparisons = executor.map(lambda pair: equal_symbolically(pair[0], pair[1], pool), pairs)
        return dict(zip(pairs, comparisons, strict=True))
