"""Values that floats cannot tell apart: decided with more digits, in bounded time, the same in every thread."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from metamath_ray.answers import equal, grade_many
from metamath_ray.answers._number import write_out, write_out_signed

TOO_NEAR = r"\pi+10^{-999}"


def test_answers_too_near_each_other_are_unknown_and_incorrect_without_the_symbolic_step() -> None:
    assert equal(TOO_NEAR, r"\pi").verdict == "unknown"
    assert equal(TOO_NEAR, r"\pi", symbolic=False).verdict == "incorrect"
    [graded] = grade_many([(f"The answer is: ${TOO_NEAR}$", r"\pi")], source="math")
    assert graded.verdict == "unknown"


def test_threads_do_not_disturb_each_others_precision() -> None:
    pairs = [
        (rf"\sqrt{{10^{{{2 * n}}}+{k}}}", rf"10^{{{n}}}", k == 0) for n in range(10, 200, 7) for k in (0, 1)
    ]
    pairs += [(rf"\sqrt{{{2 * n * n}}}", rf"{n}\sqrt2", True) for n in range(2, 40)]
    with ThreadPoolExecutor(max_workers=4) as executor:
        verdicts = list(executor.map(lambda pair: equal(pair[0], pair[1], symbolic=False).verdict, pairs * 3))
    assert verdicts == ["correct" if same else "incorrect" for _, _, same in pairs * 3]


@pytest.mark.parametrize(
    ("predicted", "gold"),
    [
        pytest.param("+".join(["e^{\\pi}"] * 40) + "+10^{-480}", "40e^{\\pi}", id="many_functions"),
        pytest.param(
            ",".join(rf"\pi+10^{{-{400 + n}}}" for n in range(60)),
            ",".join(rf"\pi+10^{{-{300 + n}}}" for n in range(60)),
            id="sixty_near_items",
        ),
        pytest.param(r"\sin(10^{300}\pi)", r"\sin(10^{299}\pi)", id="sines_of_large_numbers"),
        pytest.param(r"\pi+e^{-e^{e^{9}}}", r"\pi", id="tower"),
        pytest.param("".join(["\\sin("] * 35) + "1" + ")" * 35 + "+10^{-480}", "".join(["\\sin("] * 35) + "1" + ")" * 35, id="nested"),
    ],
)  # fmt: skip
def test_near_ties_take_bounded_time(predicted: str, gold: str) -> None:
    begin = time.process_time()
    assert equal(predicted, gold, symbolic=False).verdict in ("correct", "incorrect")
    assert time.process_time() - begin < 5


def test_mpmath_is_not_imported_before_a_near_tie() -> None:
    code = (
        "import sys; from metamath_ray.answers import equal; equal('2', '3'); equal('x+1', '1+x');"
        "assert 'mpmath' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2e3", "2000"),
        ("-1.5E2x + 3e1", "-150x + 30"),
        ("e3", "e3"),
        ("2e^3", "2e^3"),
        ("12E4_{16}", "12E4_{16}"),
        ("x_2e3", "x_2e3"),
        ("2e - 3", "2e - 3"),
    ],
)
def test_scientific_notation_is_written_out_within_a_text(text: str, written: str) -> None:
    assert write_out(text) == written


@pytest.mark.parametrize(
    ("text", "other", "written"),
    [
        ("2e-3", "1/500", "0.002"),
        ("2e-3", "-3+2e", "2e-3"),
        ("1e-3", "e-3", "0.001"),
        ("2.5e+3", "e", "2500"),
        ("2e-3", r"\text{cm}", "0.002"),
    ],
)
def test_a_signed_power_is_written_out_unless_it_can_be_a_difference(
    text: str, other: str, written: str
) -> None:
    assert write_out_signed(text, other) == written
