"""Tokens of the rows that mixes use, and those too long to be trained on."""

from collections.abc import Iterable
from dataclasses import replace

from metamath_ray.ablation._pool import MixRow, Pool
from metamath_ray.training import TrainOptions, count_row_tokens


def measure_pool(pool: Pool, types: Iterable[str], options: TrainOptions) -> Pool:
    """The pool with the tokens of every row of these types; what training would drop as `too_long` is dropped here.

    Other groups are left out. Raises as the student's tokenizer does.
    """
    used = dict.fromkeys(group for name in sorted(types) for group in pool.names_of(name))
    groups, dropped = {}, {}
    for group in used:
        rows = _measured(pool.groups[group], options)
        fits = tuple(row for row in rows if row.tokens <= options.max_length or options.compat == "paper")
        too_long = {"too_long": len(rows) - len(fits)} if len(fits) < len(rows) else {}
        groups[group], dropped[group] = fits, {**pool.dropped[group], **too_long}
    return Pool(groups, dropped)


def _measured(rows: tuple[MixRow, ...], options: TrainOptions) -> tuple[MixRow, ...]:
    texts = [(row.query, row.response) for row in rows]
    tokens = count_row_tokens(texts, model=options.model, compat=options.compat)
    return tuple(replace(row, tokens=count) for row, count in zip(rows, tokens, strict=True))
