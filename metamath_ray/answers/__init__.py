"""Final answers: extract them from replies, compare them, grade replies; fixed and paper rules."""

from metamath_ray.answers._boxed import find_boxed
from metamath_ray.answers._grade import equal, extract, grade, grade_many
from metamath_ray.answers._paper import clean_number_paper
from metamath_ray.answers._symbolic_pool import SymbolicPool
from metamath_ray.answers._types import AnswerStyle, AnswerVerdict, Comparison, DecidedBy, Graded, RuleSet

__all__ = [
    "AnswerStyle",
    "AnswerVerdict",
    "Comparison",
    "DecidedBy",
    "Graded",
    "RuleSet",
    "SymbolicPool",
    "clean_number_paper",
    "equal",
    "extract",
    "find_boxed",
    "grade",
    "grade_many",
]
