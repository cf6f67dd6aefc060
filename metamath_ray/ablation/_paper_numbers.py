"""What the paper measured for the built-in mixes (arXiv 2309.12284): facts, of a LLaMA-2-7B and its own rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metamath_ray.ablation._outcomes import MixInfo

PAPER_MODEL = "LLaMA-2-7B"

_BENCHMARKS = ("gsm8k", "math")


@dataclass(frozen=True, slots=True)
class PaperNumber:
    """A mix's accuracy in the paper as a share, by benchmark; `data` are the seed problems its rows came from."""

    mix: str
    data: str
    table: str
    accuracy: Mapping[str, float]


def _rows(table: str, data: str, shares: Mapping[str, tuple[float, ...]]) -> tuple[PaperNumber, ...]:
    return tuple(
        PaperNumber(mix, data, table, dict(zip(_BENCHMARKS, values, strict=False)))
        for mix, values in shares.items()
    )


_NUMBERS = (
    *_rows(
        "Table 1",
        "GSM8K",
        {
            "SFT": (0.416, 0.030),
            "A": (0.596, 0.044),
            "R": (0.597, 0.044),
            "A+R": (0.606, 0.044),
            "A+R+SV+FOBAR": (0.644, 0.057),
        },
    ),
    *_rows(
        "Table 1",
        "MATH",
        {
            "SFT": (0.138, 0.047),
            "A": (0.284, 0.129),
            "R": (0.304, 0.124),
            "A+R": (0.291, 0.153),
            "A+R+SV+FOBAR": (0.346, 0.177),
        },
    ),
    *_rows("Table 3", "GSM8K", {"RFT": (0.503,)}),
    *_rows("Table 4", "GSM8K", {"incorrect": (0.436,), "correct": (0.522,)}),
)

_KINDS = {
    "SFT": {"SFT"},
    "A": {"AnsAug"},
    "R": {"Rephrased"},
    "A+R": {"AnsAug", "Rephrased"},
    "A+R+SV+FOBAR": {"AnsAug", "Rephrased", "SV", "FOBAR"},
    "RFT": {"RFT"},
    "incorrect": {"incorrect"},
    "correct": {"RFT"},
}
"""By the paper's mix, what it holds: ends of our names of types."""

_PREFIXES = {"GSM": "GSM8K", "MATH": "MATH"}


def find_paper_numbers(mixes: Sequence[MixInfo]) -> tuple[PaperNumber, ...]:
    """The paper's numbers for mixes of these names and kinds of rows, in the mixes' order.

    A mix whose rows are not all from GSM8K, or all from MATH, gets the numbers of both: only their order compares.
    """
    return tuple(
        number
        for mix in mixes
        for number in _NUMBERS
        if number.mix == mix.name and _kinds(mix) == _KINDS[number.mix] and _data(mix) in (None, number.data)
    )


def find_paper_number(mix: MixInfo, benchmark: str, *, split: str) -> PaperNumber | None:
    """The number that may stand beside ours: the same mix, the same source of rows, the same test set."""
    if split != "test" or _data(mix) is None:
        return None
    return next((one for one in find_paper_numbers([mix]) if benchmark in one.accuracy), None)


def _kinds(mix: MixInfo) -> set[str]:
    return {kind.rpartition("_")[2] for kind, rows in mix.by_type.items() if rows}


def _data(mix: MixInfo) -> str | None:
    """`GSM8K` or `MATH` where all the mix's rows came from there."""
    sources = {kind.rpartition("_")[0] for kind, rows in mix.by_type.items() if rows}
    return _PREFIXES.get(sources.pop()) if len(sources) == 1 else None
