from pathlib import Path

import pytest

from metamath_ray.problems import check_worked_arithmetic, load_problems


@pytest.mark.parametrize(
    "solution",
    [
        pytest.param("<<48/2=24>>24\n<<48+24=72>>72\n#### 72", id="two-steps"),
        pytest.param("<<0.1+.2=.3>>\n#### 0.3", id="decimals-are-exact"),
        pytest.param("<<1,200*3=3,600>>\n#### 3,600", id="thousands-separators"),
        pytest.param("<<20%*50=10>>\n#### 10", id="percent"),
        pytest.param("<<(2+3)*-4=-20>>\n#### -20", id="brackets-and-minus"),
        pytest.param("<<10-3-2=5>>\n#### 5", id="subtraction-from-the-left"),
        pytest.param("<<24/4/2=3>>\n#### 3", id="division-from-the-left"),
        pytest.param("<<1/3+1/6=1/2>>\n#### 0.5", id="fractions"),
    ],
)
def test_true_arithmetic_gives_no_complaint(solution: str) -> None:
    assert check_worked_arithmetic(solution) == []


@pytest.mark.parametrize(
    ("solution", "complaint"),
    [
        pytest.param("<<2+2=5>>\n#### 5", "<<2+2=5>>: the left side is 4", id="false"),
        pytest.param("<<1/3=.33>>\n#### .33", "<<1/3=.33>>: the left side is 1/3", id="rounded"),
        pytest.param("<<2+2=4>>\n#### 5", "gold '5' is not the last annotation's value 4", id="other-gold"),
        pytest.param("<<2+2=4>>\n#### four", "gold 'four': cannot read 'four'", id="gold-in-words"),
        pytest.param("<<2+2=4>>", "no gold after '#### '", id="no-gold"),
        pytest.param("#### 4", "no <<expression=value>> in the solution", id="no-annotation"),
        pytest.param("<<4>>\n#### 4", "<<4>>: not of the form expression=value", id="no-equals-sign"),
        pytest.param("<<4/(2-2)=0>>\n#### 0", "<<4/(2-2)=0>>: division by zero", id="division-by-zero"),
        pytest.param("<<(2+2=4>>\n#### 4", "<<(2+2=4>>: a bracket does not close", id="open-bracket"),
        pytest.param("<<2+2)=4>>\n#### 4", "<<2+2)=4>>: unexpected ')'", id="stray-bracket"),
        pytest.param("<<2+=4>>\n#### 4", "<<2+=4>>: a number is missing at the end", id="half-a-sum"),
        pytest.param("<<*2=4>>\n#### 4", "<<*2=4>>: a number is missing before '*'", id="no-left-side"),
        pytest.param("<<2*2=1*4=4>>\n#### 4", "<<2*2=1*4=4>>: cannot read '=1*4'", id="two-equals-signs"),
        pytest.param("<<2 2=4>>\n#### 4", "<<2 2=4>>: unexpected '2'", id="two-numbers"),
        pytest.param("<<x+2=4>>\n#### 4", "<<x+2=4>>: cannot read 'x+2'", id="letter"),
        pytest.param("<<__import__('os')=4>>\n#### 4", "<<__import__('os')=4>>: cannot read", id="code"),
    ],
)
def test_false_arithmetic_is_named(solution: str, complaint: str) -> None:
    (only,) = check_worked_arithmetic(solution)
    assert only.startswith(complaint)


def test_a_long_expression_is_refused_before_it_is_read() -> None:
    (complaint,) = check_worked_arithmetic(f"<<{'(' * 5000}1=1>>\n#### 1")
    assert complaint.endswith("longer than 200 characters")


@pytest.mark.published
def test_most_of_published_gsm8k_has_exact_arithmetic(published: Path) -> None:
    problems = load_problems(f"gsm8k:{published / 'gsm8k_train.jsonl'}").problems
    num_exact = sum(not check_worked_arithmetic(problem.solution) for problem in problems)
    print(f"{num_exact} of {len(problems)} published solutions pass")
    assert num_exact >= 6_900
