"""What the released MetaMathQA file calls things, for all who write or read it."""

from typing import Literal

Augmentation = Literal["answer_augmentation", "rephrasing", "self_verification", "fobar"]
"""The four ways in which a seed problem becomes questions."""

_PREFIXES = {"gsm8k": "GSM", "math": "MATH"}
_SUFFIXES = {
    "answer_augmentation": "AnsAug",
    "rephrasing": "Rephrased",
    "self_verification": "SV",
    "fobar": "FOBAR",
}


def released_type(source: str, augmentation: str) -> str:
    """The released file's `type`: `GSM_AnsAug`, `MATH_FOBAR`, … and `NAME_…` for other sources."""
    return f"{_PREFIXES.get(source, source.upper())}_{_SUFFIXES.get(augmentation, augmentation)}"
