import ast
import json
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise, permutations
from math import comb, factorial, isqrt
from pathlib import Path
from typing import get_args

import pytest

from metamath_ray import problems
from metamath_ray.bootstrap._prompts import Exemplar, Step, load_prompts
from metamath_ray.problems import Style

OURS = load_prompts()
STYLES, STEPS = get_args(Style), get_args(Step)
SOLVED = [step for step in STEPS if step.startswith("solve")]
MASKED = ["solve_fobar", "solve_self_verification"]
MAX_CHARACTERS = {("gsm", "solve"): 4 * 700, "gsm": 4 * 600, "math": 4 * 800}
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}
FROM_LATEX: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"\\frac\{([^{}]+)\}\{([^{}]+)\}", r"((\1)/(\2))"),
    (r"\\binom\{(\d+)\}\{(\d+)\}", lambda match: str(comb(int(match[1]), int(match[2])))),
    (r"\\sqrt\{(\d+)\}", lambda match: str(isqrt(int(match[1]))) if is_square(int(match[1])) else match[0]),
    (r"(\d+)!", lambda match: str(factorial(int(match[1])))),
    (r"\^\{([^{}]+)\}", r"**(\1)"),
    (r"\^", "**"),
    (r"\\cdot", "*"),
    (r"\\pi", ""),
    (r"(?<=[\dX)])\s*(?=[X(])", "*"),
]
FORWARD: dict[tuple[str, str], list[tuple[Callable[[Fraction], Fraction], str]]] = {
    ("gsm", "solve_fobar"): [
        (lambda x: x * 6 + 4, "52"),
        (lambda x: 3 * x + 2 * 9, "78"),
        (lambda x: 80 * (1 - x / 100), "60"),
        (lambda x: 90 * x + 70 * 2, "410"),
        (lambda x: x - x / 3 - 5, "19"),
        (lambda x: x + 12 + x + 12, "38"),
    ],
    ("gsm", "solve_self_verification"): [
        (lambda x: 40 + 6 * x, "130"),
        (lambda x: 240 / x, "12"),
        (lambda x: 80 * (1 - x / 100), "52"),
        (lambda x: x * 15 - 20, "100"),
        (lambda x: x * 40 * 3 / 4, "150"),
        (lambda x: 50 + x + 50 + x, "160"),
        (lambda x: 3 * x + 4, "40"),
    ],
    ("math", "solve_fobar"): [
        (lambda x: x * (12 - 5), "42"),
        (lambda x: x * 9 / 2, "36"),
        (lambda x: 3 + (10 - 1) * x, "30"),
        (lambda x: x / 24, r"\frac{5}{8}"),
        (lambda x: 5**2 - 3 * 5 + x, "14"),
        (lambda x: Fraction((2 ** int(x) * 8).bit_length() - 1), "9"),
        (lambda x: Fraction(comb(int(x), 2)), "45"),
    ],
    ("math", "solve_self_verification"): [
        (lambda x: x * 4 + 3, "23"),
        (lambda x: x * x, r"49\pi"),
        (lambda x: (x + 8 + 13) / 3, "11"),
        (lambda x: Fraction(1, 2) ** int(x), r"\frac{1}{32}"),
        (lambda x: 6 * x, "540"),
        (lambda x: max(r for r in map(Fraction, range(-99, 99)) if r * r - x * r + 12 == 0), "6"),
        (lambda x: 80 * (1 + x / 100), "92"),
    ],
}
"""What each masked story comes to once x is put back, from the text's facts and not from the reply."""


SOLVED_MATH: list[tuple[str, bool]] = [
    ("17", 3 * (17 - 4) == 2 * 17 + 5),
    (r"4\sqrt{6}", 4**2 * 6 == 2 * 48),
    ("48", sum(abs(row.index(3) - row.index(4)) == 1 for row in permutations(range(5))) == 48),
    (r"\frac{5}{14}", Fraction(comb(5, 2), comb(8, 2)) == Fraction(5, 14)),
    ("4", 7**10 % 5 == 4),
    ("(-2,5)", all((abs(2 * x / 10 - 3) < 7) == (-20 < x < 50) for x in range(-90, 90))),
    ("28", pytest.approx(28) == (3 + 5**0.5) ** 2 + (3 - 5**0.5) ** 2),
]
"""Each answer of math/solve with a check that takes another way than the exemplar."""


def is_square(number: int) -> bool:
    return isqrt(number) ** 2 == number


def exemplars(style: str, step: str) -> tuple[Exemplar, ...]:
    return OURS.get(style, step).exemplars


def parameters(styles: tuple[str, ...], steps: list[str]) -> list[object]:
    return [
        pytest.param(style, step, exemplar, id=f"{style}-{step}-{number}")
        for style in styles
        for step in steps
        for number, exemplar in enumerate(exemplars(style, step), start=1)
    ]


def evaluate(text: str, x: Fraction | None = None) -> Fraction:
    def value(node: ast.expr) -> Fraction:
        match node:
            case ast.Constant(value=int() | float() as number):
                return Fraction(str(number))
            case ast.Name(id="x" | "X") if x is not None:
                return x
            case ast.UnaryOp(op=op, operand=operand):
                return OPERATORS[type(op)](value(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return Fraction(OPERATORS[type(op)](value(left), value(right)))
        raise ValueError(text)

    return value(ast.parse(text, mode="eval").body)


def chains(text: str) -> list[list[str]]:
    """Every run `a op b = c = …` of plain numbers, x and operators."""
    token = r"(?:\d+(?:\.\d+)?|\bx\b|[-+*/()])"
    side = rf"{token}(?:\s*{token})*"
    return [run.split(" = ") for run in re.findall(rf"{side}(?: = {side})+", text)]


def latex_chains(text: str) -> list[list[str]]:
    """Every run of equal sides in a formula that is arithmetic with X after translation."""
    found = []
    for formula in re.findall(r"\$(.+?)\$", text):
        for pattern, replacement in FROM_LATEX:
            formula = re.sub(pattern, replacement, formula)
        sides = [side.strip() for side in formula.split("=")]
        if len(sides) > 1 and all(re.fullmatch(r"[\dX+\-*/(). ]+", side) for side in sides):
            found.append(sides)
    return found


def final_answer(style: str, reply: str) -> str:
    lines = reply.split("\n")
    if style == "gsm":
        number = lines[-2].removeprefix("#### ")
        assert re.fullmatch(r"\d+", number)
        assert lines[-1] == f"The answer is: {number}"
        return number
    assert "####" not in reply
    assert lines[-1].startswith("The answer is: ")
    answer = lines[-1].removeprefix("The answer is: ")
    assert answer
    assert "$" not in answer
    return answer


def words_of(text: str) -> list[str]:
    text = re.sub(r"If we know the answer to the above question is .*", "", text)
    return re.findall(r"[a-z0-9]+", text.replace("What is the value of unknown variable", "").lower())


def ngrams(words: list[str], *, size: int = 13) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+(?:\.\d+)?", text))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("step", STEPS)
def test_every_prompt_has_six_to_eight_exemplars_and_fits_its_size(style, step):
    prompt = OURS.get(style, step)
    turns = "".join(exemplar.user + exemplar.assistant for exemplar in prompt.exemplars)
    assert 6 <= len(prompt.exemplars) <= 8
    assert len(prompt.instruction + turns) < MAX_CHARACTERS.get((style, step), MAX_CHARACTERS[style])
    assert len({exemplar.user for exemplar in prompt.exemplars}) == len(prompt.exemplars)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("step", SOLVED)
def test_the_instruction_of_a_solver_shows_the_last_line(style, step):
    lines = OURS.get(style, step).instruction.split("\n")
    expected = ["#### <number>", "The answer is: <number>"] if style == "gsm" else ["The answer is: <answer>"]
    assert lines[1:] == expected


@pytest.mark.parametrize(("style", "step", "exemplar"), parameters(STYLES, SOLVED))
def test_solved_exemplars_end_as_the_paper_and_reason_in_two_to_five_lines(style, step, exemplar):
    tail = 2 if style == "gsm" else 1
    assert final_answer(style, exemplar.assistant)
    assert 2 <= len(exemplar.assistant.split("\n")) - tail <= 5


@pytest.mark.parametrize(("style", "step", "exemplar"), parameters(("gsm",), SOLVED))
def test_every_gsm_calculation_is_right_and_the_last_gives_the_answer(style, step, exemplar):
    answer = Fraction(final_answer(style, exemplar.assistant))
    found = chains(exemplar.assistant)
    assert len(found) >= 2
    for sides in found:
        for left, right in pairwise(evaluate(side, answer) for side in sides):
            assert left == right, sides
    assert evaluate(found[-1][-1]) == answer
    assert exemplar.assistant.count("=") == sum(len(sides) - 1 for sides in found)


@pytest.mark.parametrize(("style", "step", "exemplar"), parameters(("math",), MASKED))
def test_every_formula_with_x_holds_for_the_answer(style, step, exemplar):
    answer = Fraction(final_answer(style, exemplar.assistant))
    found = latex_chains(exemplar.assistant)
    assert len(found) >= 2
    for sides in found:
        assert len({evaluate(side, answer) for side in sides}) == 1, sides


@pytest.mark.parametrize(("style", "step", "exemplar"), parameters(("math",), ["solve"]))
def test_every_calculation_without_letters_is_right(style, step, exemplar):
    for sides in latex_chains(exemplar.assistant):
        assert len({evaluate(side) for side in sides}) == 1, sides


def test_math_answers_agree_with_another_way_to_them():
    answers = [final_answer("math", exemplar.assistant) for exemplar in exemplars("math", "solve")]
    assert [(answer, True) for answer in answers] == SOLVED_MATH


@pytest.mark.parametrize(("style", "step"), list(FORWARD), ids="-".join)
def test_the_masked_number_put_back_gives_the_stated_answer(style, step):
    for exemplar, (forward, stated) in zip(exemplars(style, step), FORWARD[style, step], strict=True):
        result = forward(Fraction(final_answer(style, exemplar.assistant)))
        plain = re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"\1/\2", stated.replace(r"\pi", ""))
        assert stated in exemplar.user
        assert result == Fraction(plain)


@pytest.mark.parametrize(("style", "step", "exemplar"), parameters(STYLES, MASKED))
def test_masked_exemplars_ask_in_the_words_of_the_paper(style, step, exemplar):
    variable = "x" if style == "gsm" else "X"
    ask = f"hat is the value of unknown variable {variable}?"
    if step == "solve_fobar":
        masked, line = exemplar.user.split("\n")
        assert re.fullmatch(rf"If we know the answer to the above question is \S+, w{re.escape(ask)}", line)
    else:
        assert exemplar.user.endswith(f". W{ask}")
        masked = exemplar.user.removesuffix(f" W{ask}")
    assert len(re.findall(r"\bx\b" if style == "gsm" else "X", masked)) == 1
    assert "?" not in masked or step == "solve_fobar"


@pytest.mark.parametrize(("style", "step", "exemplar"), parameters(STYLES, ["rephrase"]))
def test_rephrasings_keep_the_numbers_and_change_the_words(style, step, exemplar):
    prose = [re.sub(r"\$[^$]*\$", " ", text) for text in (exemplar.user, exemplar.assistant)]
    old, new = (ngrams(words_of(text), size=6) for text in prose)
    assert not old & new
    assert numbers(exemplar.user) == numbers(exemplar.assistant)
    assert "The answer is" not in exemplar.assistant
    assert "\n" not in exemplar.assistant


@pytest.mark.parametrize(("style", "step", "exemplar"), parameters(STYLES, ["declare"]))
def test_declared_sentences_hold_the_answer_and_ask_nothing(style, step, exemplar):
    question, answer = exemplar.user.split("\n")
    assert question.startswith("Question: ")
    assert answer.startswith("Answer: ")
    value = answer.removeprefix("Answer: ")
    assert (f"${value}$" if style == "math" else value) in exemplar.assistant
    assert re.fullmatch(r"[A-Z][^?\n]*\.", exemplar.assistant)


@pytest.mark.published
def test_no_exemplar_shares_a_13_gram_with_the_published_files(published):
    grams = {gram: text for text in _texts() for gram in ngrams(words_of(text))}
    for path in sorted(published.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = words_of(" ".join(value for value in json.loads(line).values() if isinstance(value, str)))
            shared = [grams[gram] for gram in ngrams(words) if gram in grams]
            assert not shared, (path.name, shared[0])


def test_no_exemplar_shares_a_13_gram_with_a_bundled_problem():
    grams = {gram: text for text in _texts() for gram in ngrams(words_of(text))}
    exact = {tuple(words_of(text)) for text in _texts()}
    for path in sorted((Path(problems.__file__).parent / "bundled").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = words_of(json.loads(line)["question"])
            assert tuple(words) not in exact
            assert not [grams[gram] for gram in ngrams(words) if gram in grams]


def _texts() -> list[str]:
    pairs = [exemplar for prompt in OURS.prompts for exemplar in prompt.exemplars]
    return [text for pair in pairs for text in (pair.user, pair.assistant)]
