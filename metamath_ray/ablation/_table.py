"""The table of an ablation: tidy CSV to compute with, LaTeX for a paper, Markdown for a README."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from metamath_ray.ablation._outcomes import MixInfo
from metamath_ray.ablation._paper_numbers import PAPER_MODEL, PaperNumber
from metamath_ray.ablation._statistics import BenchmarkStatistics, Interval, MixScore

_TABLE_COLUMNS = (
    "benchmark",
    "split",
    "mix",
    "rows",
    "tokens",
    "problems",
    "seeds",
    "accuracy",
    "low",
    "high",
    "interval_over",
    "seed_accuracies",
    "paper_accuracy",
    "paper_source",
)
_PAIR_COLUMNS = (
    "benchmark",
    "split",
    "first",
    "second",
    "difference",
    "low",
    "high",
    "interval_over",
    "share_not_above_0",
    "p_value",
    "p_holm",
)
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_MARKDOWN = re.compile(r"([\\|`*_<>\[\]])")


@dataclass(frozen=True, slots=True)
class Table:
    """What the tables are made of; `paper` by mix and benchmark, where the paper's number may stand beside ours."""

    mixes: tuple[MixInfo, ...]
    statistics: tuple[BenchmarkStatistics, ...]
    splits: Mapping[str, str]
    paper: Mapping[tuple[str, str], PaperNumber]

    @property
    def shown_mixes(self) -> tuple[MixInfo, ...]:
        """The mixes that have a score on any benchmark."""
        scored = {score.mix for one in self.statistics for score in one.scores}
        return tuple(mix for mix in self.mixes if mix.name in scored)

    def score(self, mix: str, benchmark: BenchmarkStatistics) -> MixScore | None:
        """The mix's score on the benchmark, None without one."""
        return next((score for score in benchmark.scores if score.mix == mix), None)

    def has_paper(self, benchmark: str) -> bool:
        """Whether any mix has a number of the paper on this benchmark."""
        return any(name == benchmark for _, name in self.paper)


def table_csv(table: Table) -> str:
    """A line for each mix and benchmark; shares from 0 to 1, each seed's as `seed=accuracy`, empty where unknown."""
    infos = {mix.name: mix for mix in table.mixes}
    lines = []
    for one in table.statistics:
        for score in one.scores:
            info, paper = infos[score.mix], table.paper.get((score.mix, one.benchmark))
            lines.append([
                one.benchmark, table.splits[one.benchmark], score.mix, info.rows, info.tokens, one.num_problems,
                len(score.by_seed), _share(score.accuracy), *_ends(score.interval), score.over,
                " ".join(f"{seed}={_share(value)}" for seed, value in score.by_seed.items()),
                _share(paper.accuracy[one.benchmark]) if paper else "",
                f"{PAPER_MODEL} on {paper.data} rows, {paper.table}" if paper else "",
            ])  # fmt: skip
    return _csv(_TABLE_COLUMNS, lines)


def pairs_csv(table: Table) -> str:
    """A line for every two mixes of a benchmark: the second's accuracy less the first's, as shares."""
    lines = [
        [
            one.benchmark, table.splits[one.benchmark], pair.first, pair.second, _share(pair.difference),
            *_ends(pair.interval), pair.over, _share(pair.share_not_above), _share(pair.p_value), _share(pair.p_holm),
        ]
        for one in table.statistics
        for pair in one.differences
    ]  # fmt: skip
    return _csv(_PAIR_COLUMNS, lines)


def table_latex(table: Table) -> str:
    """A `tabular` of percent, a row for each mix; needs the package booktabs."""
    columns = [_columns(one, table) for one in table.statistics]
    heads = [rf"\multicolumn{{{n}}}{{c}}{{{_latex(name)}}}" for name, n in columns]
    rules, start = [], 3
    for _, number in columns:
        rules.append(rf"\cmidrule(lr){{{start}-{start + number - 1}}}")
        start += number
    below = ["Mix", "Rows", *(" & ".join(["\\%", "95\\,\\% interval", "paper"][:n]) for _, n in columns)]
    lines = [
        *(f"% {line}" for line in _notes(table)),
        rf"\begin{{tabular}}{{lr{''.join('r' * n for _, n in columns)}}}",
        r"\toprule",
        " & ".join(["", "", *heads]) + r" \\",
        "".join(rules),
        " & ".join(below) + r" \\",
        r"\midrule",
        *(" & ".join(_latex_cells(mix, table)) + r" \\" for mix in table.shown_mixes),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def table_markdown(table: Table) -> str:
    """A table of percent, a row for each mix, and below it what its figures are."""
    heads = ["mix", "rows"]
    for one in table.statistics:
        heads.append(f"{_markdown(one.benchmark)}, {one.num_problems:,} problems")
        heads += [f"paper, {_markdown(one.benchmark)}"] * table.has_paper(one.benchmark)
    rows = [[_markdown(mix.name), f"{mix.rows:,}", *_markdown_cells(mix, table)] for mix in table.shown_mixes]
    lines = [heads, ["---"] * len(heads), *rows]
    return (
        "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ["", " ".join(_notes(table))]) + "\n"
    )


def _columns(one: BenchmarkStatistics, table: Table) -> tuple[str, int]:
    """The benchmark's heading, and its number of columns."""
    return f"{one.benchmark} ({one.num_problems:,} problems)", 2 + table.has_paper(one.benchmark)


def _latex_cells(mix: MixInfo, table: Table) -> Iterator[str]:
    yield from (_latex(mix.name), f"{mix.rows:,}")
    for one in table.statistics:
        score = table.score(mix.name, one)
        yield _percent(score.accuracy) if score else "--"
        yield f"{_percent(score.interval.low)}--{_percent(score.interval.high)}" if score else ""
        if table.has_paper(one.benchmark):
            yield _paper(mix, one, table) or "--"


def _markdown_cells(mix: MixInfo, table: Table) -> Iterator[str]:
    for one in table.statistics:
        score = table.score(mix.name, one)
        yield (
            f"{_percent(score.accuracy)} % ({_percent(score.interval.low)} to {_percent(score.interval.high)})"
            if score
            else "–"
        )
        if table.has_paper(one.benchmark):
            paper = _paper(mix, one, table)
            yield f"{paper} %" if paper else "–"


def _paper(mix: MixInfo, one: BenchmarkStatistics, table: Table) -> str:
    number = table.paper.get((mix.name, one.benchmark))
    return _percent(number.accuracy[one.benchmark]) if number else ""


def _notes(table: Table) -> Iterator[str]:
    scores = [score for one in table.statistics for score in one.scores]
    counts = sorted({len(score.by_seed) for score in scores})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if counts[-1] == 1:
        yield "Accuracy of one seed a mix, with its 95 % interval over problems alone."
    else:
        yield f"Mean accuracy over {seeds} seeds, with its 95 % interval over seeds and problems."
        if counts[0] == 1:
            yield "With one seed the interval is over problems alone."
    if table.paper:
        tables = sorted({number.table for number in table.paper.values()})
        yield f"paper: {PAPER_MODEL}, {' and '.join(tables)} of arXiv 2309.12284; another model and more rows."


def _csv(columns: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return text.getvalue()


def _ends(interval: Interval) -> tuple[str, str]:
    return _share(interval.low), _share(interval.high)


def _share(value: float) -> str:
    """Six decimals at most: more than any interval here tells apart."""
    return f"{round(value, 6) + 0.0:.6g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
