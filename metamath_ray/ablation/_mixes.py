"""Data mixes: how many rows of which type a training set holds. Built in are the paper's; others come as YAML."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from metamath_ray.ablation._pool import INCORRECT, RFT, SFT, Pool

Count = int | Literal["all"]

ANS, REPHRASED, SV, FOBAR = "AnsAug", "Rephrased", "SV", "FOBAR"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_YAML = (".yaml", ".yml")
_QUARTERS = (1, 2, 3, 4)
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Mix:
    """A mix by name: rows of each type, in the order in which they are drawn."""

    name: str
    parts: tuple[tuple[str, Count], ...]


def load_mixes(given: Sequence[str]) -> "tuple[MixSource, ...]":
    """What each of `given` stands for: a built-in set of mixes by name, or a YAML file's.

    A file maps mix names to mappings of type to rows: a number or `all`. Raises `ValueError` in one line.
    """
    return tuple(_source(one) for one in given)


@dataclass(frozen=True, slots=True)
class MixSource:
    """Mixes that may depend on how many rows there are; `types` are all that they can name."""

    types: frozenset[str]
    make: Callable[[Pool], tuple[Mix, ...]]


def resolve_mixes(sources: Sequence[MixSource], pool: Pool) -> tuple[Mix, ...]:
    """Every mix once, each part with its number of rows.

    Raises `ValueError` for a type that the pool does not have, for more rows than there are, for a type named twice
    in a mix, and for two different mixes of one name.
    """
    mixes: dict[str, Mix] = {}
    for mix in (_counted(mix, pool) for source in sources for mix in source.make(pool)):
        if mixes.setdefault(mix.name, mix) != mix:
            raise ValueError(f"two mixes have the name {mix.name!r} and other rows; give one another name")
    return tuple(mixes.values())


def _counted(mix: Mix, pool: Pool) -> Mix:
    claimed: dict[str, str] = {}
    parts = []
    for kind, count in mix.parts:
        groups = pool.names_of(kind)
        if not groups:
            raise ValueError(f"mix {mix.name!r}: there is no type {kind!r}{_hint(kind, pool)}")
        for group in groups:
            if claimed.setdefault(group, kind) != kind:
                raise ValueError(
                    f"mix {mix.name!r}: {kind!r} and {claimed[group]!r} are the same rows ({group})"
                )
        there = len(pool.rows_of(kind))
        if there < (1 if count == "all" else count):
            dropped = sum(pool.dropped[group].get("dev", 0) for group in groups)
            dev = f" beside {dropped} of dev problems" * bool(dropped)
            raise ValueError(f"mix {mix.name!r} asks for {count} rows of {kind}; there are {there}{dev}")
        parts.append((kind, there if count == "all" else count))
    return Mix(mix.name, tuple(parts))


def _hint(kind: str, pool: Pool) -> str:
    known = pool.known()
    near = difflib.get_close_matches(kind, known, n=1)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f", did you mean {near[0]}?" if near else f"; there are {', '.join(known[:_SHOWN])}{more}"


def _table1(pool: Pool) -> tuple[Mix, ...]:
    """Table 1: each with all the rows there are, as in the paper; `--equal` makes them as large as each other."""
    mixes = {
        "SFT": (SFT,),
        "A": (ANS,),
        "R": (REPHRASED,),
        "A+R": (ANS, REPHRASED),
        "A+R+SV+FOBAR": (ANS, REPHRASED, SV, FOBAR),
    }
    return tuple(Mix(name, tuple((kind, "all") for kind in kinds)) for name, kinds in mixes.items())


def _rft(pool: Pool) -> tuple[Mix, ...]:
    """RFT: all distinct correct paths of the seeds' own questions, beside the published solutions."""
    return (Mix("SFT", ((SFT, "all"),)), Mix("RFT", ((RFT, "all"),)))


def _incorrect(pool: Pool) -> tuple[Mix, ...]:
    """Table 4: as many wrong paths as right ones and published solutions."""
    kinds = {"SFT": SFT, "incorrect": INCORRECT, "correct": RFT}
    size = min(len(pool.rows_of(kind)) for kind in kinds.values())
    return tuple(Mix(name, ((kind, max(size, 1)),)) for name, kind in kinds.items())


def _saturation(pool: Pool) -> tuple[Mix, ...]:
    """Figure 2: a quarter of the answer-augmented rows, grown by more of them or by bootstrapped questions."""
    there = len(pool.rows_of(ANS))
    quarter = max(there // len(_QUARTERS), 1)
    mixes = [Mix(f"A-{n * quarter}", ((ANS, n * quarter),)) for n in _QUARTERS]
    new = {kind: len(pool.rows_of(kind)) for kind in (REPHRASED, SV, FOBAR)}
    for n in _QUARTERS[1:]:
        more = min((n - 1) * quarter, sum(new.values()))
        parts = [(kind, rows) for kind, rows in share_out(more, new).items() if rows]
        mixes.append(Mix(f"A-{quarter}+new-{more}", ((ANS, quarter), *parts)))
    return tuple(mixes)


BUILT_IN: Mapping[str, MixSource] = {
    "table1": MixSource(frozenset({SFT, ANS, REPHRASED, SV, FOBAR}), _table1),
    "rft": MixSource(frozenset({SFT, RFT}), _rft),
    "incorrect": MixSource(frozenset({SFT, RFT, INCORRECT}), _incorrect),
    "saturation": MixSource(frozenset({ANS, REPHRASED, SV, FOBAR}), _saturation),
}
"""The sets of mixes that `--mixes` knows by name."""


def share_out(total: int, weights: Mapping[str, int]) -> dict[str, int]:
    """`total` in whole parts as the weights are, none above its weight: the largest remainders get what is left."""
    whole = sum(weights.values())
    assert 0 <= total <= whole, (total, whole)
    parts = {name: total * weight // max(whole, 1) for name, weight in weights.items()}
    order = sorted(weights, key=lambda name: (-(total * weights[name] % max(whole, 1)), name))
    for name in order[: total - sum(parts.values())]:
        parts[name] += 1
    return parts


def _source(given: str) -> MixSource:
    if given in BUILT_IN:
        return BUILT_IN[given]
    if not given.endswith(_YAML):
        raise ValueError(f"mixes must be of {', '.join(BUILT_IN)}, or a path to a .yaml file, got {given!r}")
    mixes = _read_mixes(Path(given).expanduser())
    return MixSource(frozenset(kind for mix in mixes for kind, _ in mix.parts), lambda pool: mixes)


def _read_mixes(path: Path) -> tuple[Mix, ...]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"mixes {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"mixes {path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not values:
        raise ValueError(
            f"mixes {path} must map names of mixes to types and rows, such as 'A: {{AnsAug: 500}}'"
        )
    return tuple(_parse_mix(name, parts, path) for name, parts in values.items())


def _parse_mix(name: Any, parts: Any, path: Path) -> Mix:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"mixes {path}: a name must begin with a letter or digit and hold no more than A-Z a-z 0-9 . _ + -, "
            f"got {name!r}"
        )
    if not isinstance(parts, dict) or not parts:
        raise ValueError(f"mixes {path}: {name} must map types to rows, got {parts!r}")
    for kind, count in parts.items():
        is_count = isinstance(count, int) and not isinstance(count, bool) and count >= 1
        if count != "all" and not is_count:
            raise ValueError(f"mixes {path}: {name}: {kind} must be a number of rows or 'all', got {count!r}")
    return Mix(name, tuple((str(kind), count) for kind, count in parts.items()))
