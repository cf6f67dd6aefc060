import pytest

from metamath_ray.bootstrap._false_steps import find_false_steps


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("The bill is 4 * 15 + 21 = 77 dollars.", id="sum"),
        pytest.param("Each pays 77 / 6 = 13.5 dollars.", id="wrong-decimals"),
        pytest.param("So 420 + 570 = 1000 liters are delivered.", id="after-a-word"),
        pytest.param("- 3 * 4 = 13\nThe answer is: 13", id="list-item"),
        pytest.param("The total is $3.50 * 4 = $15.", id="dollars"),
        pytest.param("It is 10 + 20 = 30 + 5 = 36 meters.", id="last-of-a-chain"),
        pytest.param(r"The area is $6 \times 7 = 43$.", id="latex"),
        pytest.param("It costs 1,200 * 3 = 3,500 dollars.", id="separators"),
        pytest.param("It is (3 + 4) * 2 = 15.", id="brackets"),
    ],
)
def test_a_sum_that_does_not_hold_is_found(path: str) -> None:
    assert len(find_false_steps(path)) == 1


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("The bill is 4 * 15 + 21 = 81 dollars.", id="right"),
        pytest.param("It is 2 * 3 = 6 + 4 = 10.", id="run-on"),
        pytest.param("It is 5 - 8 = -3 + 10 = 7.", id="run-on-below-zero"),
        pytest.param("Each pays 10 / 3 = 3.33 dollars.", id="rounded"),
        pytest.param("They need 50 / 8 = 7 boxes.", id="rounded-up"),
        pytest.param("That is 15 / 60 = 25%.", id="percent"),
        pytest.param("That is 15 / 60 * 100 = 25%.", id="percent-of-hundred"),
        pytest.param("The price is 80 - 20% = 64.", id="percent-shorthand"),
        pytest.param("It is 10 * 30 = 5 hours.", id="minutes-to-hours"),
        pytest.param("It is 3 * 25 = 75 cents.", id="cents"),
        pytest.param("Half of 10 + 5 = 10.", id="half-of"),
        pytest.param("We know 2x + 3 + 4 = 20.", id="equation"),
        pytest.param("So x - 3 + 4 = 20.", id="equation-before"),
        pytest.param("It is 3 + 4 = x.", id="equation-behind"),
        pytest.param("It is 3 + 4 = 5x.", id="coefficient-behind"),
        pytest.param(r"It is $2^3 + 4 = 12$.", id="power"),
        pytest.param("It is 1 + 2 = 2^2 - 1.", id="power-behind"),
        pytest.param(r"It is 8 * 2 = 1 \pmod{5}.", id="modulus"),
        pytest.param("It is 2 1/2 + 1 = 3.5.", id="mixed-number"),
        pytest.param("It is 3 + 4 = 9 / 0.", id="division-by-zero"),
        pytest.param("It is 3(4) + 1 = 99.", id="product-without-sign"),
        pytest.param("It is 17 / 5 = 3 remainder 2.", id="remainder"),
        pytest.param("The ratio is 3:4 + 1 = 9.", id="ratio"),
        pytest.param("Let n = 5.", id="assignment"),
        pytest.param("", id="empty"),
        pytest.param("It is " + "(" * 300 + "3 + 4 = 9", id="brackets-without-end"),
    ],
)
def test_what_holds_or_can_not_be_judged_is_left_alone(path: str) -> None:
    assert find_false_steps(path) == []


def test_a_long_path_takes_no_time() -> None:
    assert find_false_steps("3 + " * 50_000 + "x") == []
    assert find_false_steps("So 3 = " * 50_000) == []
