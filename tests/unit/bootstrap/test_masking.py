import pytest

from metamath_ray.bootstrap._mask import Mask, apply_mask, undo_mask
from metamath_ray.bootstrap._masking import find_masks
from metamath_ray.problems import Style


def masked(question: str, style: Style = "gsm") -> list[tuple[str, str, str]]:
    masks = find_masks(question, style=style)
    return [(question[m.start : m.end], m.value, m.kind) for m in masks]


def spans(question: str, style: Style = "gsm") -> list[str]:
    return [span for span, _, _ in masked(question, style)]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("A pen costs $3.50 here.", ("3.50", "3.50", "currency")),
        ("A pen costs $.50 here.", (".50", "0.50", "currency")),
        ("A car costs $12,500.75 now.", ("12,500.75", "12500.75", "currency")),
        ("It costs 7€ now.", ("7", "7", "currency")),
        ("A town has 1,200 houses.", ("1,200", "1200", "thousands")),
        ("A town has 1,200,300 trees.", ("1,200,300", "1200300", "thousands")),
        ("He eats 20% of it.", ("20", "20", "percent")),
        ("He eats 20 percent of it.", ("20", "20", "percent")),
        ("He has three dogs.", ("three", "3", "word")),
        ("Three dogs bark.", ("Three", "3", "word")),
        ("He has twenty-five dogs.", ("twenty-five", "25", "word")),
        ("He has twenty five dogs.", ("twenty five", "25", "word")),
        ("He has one hundred twenty dogs.", ("one hundred twenty", "120", "word")),
        ("He has two hundred and five dogs.", ("two hundred and five", "205", "word")),
        ("He has three thousand four hundred ants.", ("three thousand four hundred", "3400", "word")),
        ("He ate 3/4 of the cake.", ("3/4", "3/4", "fraction")),
        ("He needs 2 1/2 cups.", ("2 1/2", "5/2", "mixed")),
        ("He needs 2-1/2 cups.", ("2-1/2", "5/2", "mixed")),
        ("He needs 2.5 cups.", ("2.5", "2.5", "decimal")),
        ("It was -14 degrees.", ("14", "14", "integer")),
        ("A 20-foot rope lies there.", ("20", "20", "integer")),
        ("A three-minute egg.", ("three", "3", "word")),
        ("They earn $5/hour.", ("5", "5", "currency")),
        ("He counts the tiles--38.", ("38", "38", "integer")),
        ("He ran 2000 meters.", ("2000", "2000", "integer")),
        ("The town counts from 2000 people.", ("2000", "2000", "integer")),
        ("He has five dozen eggs.", ("five", "5", "word")),
    ],
    ids=lambda value: value if isinstance(value, str) else value[2],
)
def test_a_clear_number_is_masked_whole_and_its_signs_survive(question, expected):
    assert masked(question) == [expected]


@pytest.mark.parametrize(
    "question",
    [
        "No one came, and one of them left.",
        "She took one apple.",
        "He came first, then 3rd, then 21st, then the fifth.",
        "It is the twenty-first day, the twenty second house.",
        "He ate half, two thirds, two-thirds, a quarter, three quarters.",
        "He went once, she twice.",
        "He buys at a 7-Eleven with vitamin B12 in 3D.",
        "A 40k race and a 401K plan, 5kg of salt.",
        "He has an iPhone 12 in Room 5.",
        "The planet Orbius-5 and the illness COVID-19.",
        "It is 7:30 now, and 5 pm later, and 9 a.m. for her, 6 o'clock there.",
        "He was born on March 5 and she on 12 June.",
        "He was born in 1995, and she in 2004.",
        "It takes 3-4 hours, or 5 – 6 hours, or $7-$10.",
        "They won 37-23.",
        "The ratio is 3:5 or 2:3:4.",
        "He ran 2 and a half miles, she three and a half.",
        "He is 5'6 tall, a 16' room.",
        "Ages 60+ pay less.",
        "A buy-1-get-1-free deal.",
        "The date is 1/2/2020.",
        "It grew by 2/3rds.",
        "The two of them, these three, the other four.",
        "They saw Five Guys and the Seven Dwarfs.",
        "He has twenty five-pound bags.",
        "There are 5 boxes. He opens the 5 boxes.",
        "There are five boxes. He opens these 5 boxes.",
        "He has some $10 bills. How many $10 bills?",
        "He invests $1000. To the $1000 he adds nothing.",
        "Divide it by 3/0.",
        "A list 1,2,3.",
    ],
)
def test_what_is_no_clear_number_is_not_masked(question):
    assert masked(question) == []


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Find $2^{10}$.", ("2^{10}", "2^{10}", "power")),
        ("Find $2^5$.", ("2^5", "2^5", "power")),
        (r"Find $\frac{3}{4}$.", (r"\frac{3}{4}", r"\frac{3}{4}", "fraction")),
        (r"Find $\dfrac34$.", (r"\dfrac34", r"\dfrac34", "fraction")),
        (r"Find $3\frac{1}{2}$.", (r"3\frac{1}{2}", r"3\frac{1}{2}", "mixed")),
        ("Find $3/4$.", ("3/4", "3/4", "fraction")),
        (r"Pay $\$3.50$ now.", ("3.50", "3.50", "currency")),
        (r"Pay \$3.50 now.", ("3.50", "3.50", "currency")),
        (r"Pay $\$$25 now.", ("25", "25", "currency")),
        (r"Take $20\%$ now.", ("20", "20", "percent")),
        (r"Take 20\% now.", ("20", "20", "percent")),
        (r"Take $10{,}000$ now.", ("10{,}000", "10000", "thousands")),
        (r"Take $10,\!000$ now.", (r"10,\!000", "10000", "thousands")),
        ("Take $1,200$ now.", ("1,200", "1200", "thousands")),
        (r"An angle of $45^\circ$.", ("45", "45", "angle")),
        ("Let $f(n)=n+.5$.", (".5", "0.5", "decimal")),
        (r"Let $\sqrt{5}=a$.", ("5", "5", "integer")),
        (r"Let $5a=\pi$.", ("5", "5", "integer")),
        ("Let $a_1=7$.", ("7", "7", "integer")),
        (r"Let \[a=7.\]", ("7", "7", "integer")),
        (r"\begin{align*}a&=7\end{align*}", ("7", "7", "integer")),
        ("A three-legged stool.", ("three", "3", "word")),
    ],
    ids=lambda value: value if isinstance(value, str) else value[2],
)
def test_a_clear_number_of_latex_is_masked_whole(question, expected):
    assert masked(question, "math") == [expected]


@pytest.mark.parametrize(
    "question",
    [
        "Let $a_1=b_{23}$.",
        "Let $a^2=b^{10}$.",
        "Let $2^n=3^{k+1}$.",
        "Let $245_8=n$.",
        r"Let $\log_2 n$.",
        r"The $5^{\text{th}}$, $5$th, $2000^{\mathrm{th}}$, $7^{th}$ term.",
        r"Let $a=0.\overline{57}$ and $b=0.333\ldots$.",
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        r"Let $f=\begin{cases} 1 & a \\ 2 & b \end{cases}$.",
        r"\begin{tabular}{c|c} Mars & 2 \end{tabular}",
        "Look. [asy] draw((0,0)--(3,4)); [/asy]",
        "Look. [asy] draw((0,0)--(3,4));",
        r"Let $\sqrt3=\sqrt[3]{a}$.",
        r"Let $\frac1a$ and $\frac{a}2$.",
        r"Let $\{100,200,300\}$ be a set.",
        r"Let $a\hspace{2cm}b$.",
        "Let $a=5 be open.",
        "The ratio $3:5$.",
        "Let $f(25)=a$ and $b=f(25)$.",
        r"Is it $\text{(A)}\ 0.5\qquad\text{(B)}\ 7$?",
    ],
)
def test_latex_digits_that_are_no_quantity_are_not_masked(question):
    assert masked(question, "math") == []


@pytest.mark.parametrize(
    ("question", "style", "variable"),
    [
        ("He has 5 dogs.", "gsm", "x"),
        ("He has 5 boxes.", "gsm", "x"),
        ("A 5 x 7 room.", "gsm", None),
        ("He has 5 dogs and X cats.", "gsm", None),
        ("Let $y=5$.", "math", "x"),
        (r"Let $y=5\times\max(b)$.", "math", "x"),
        ("Let $x=5$.", "math", "X"),
        ("Let $xy=5$.", "math", "X"),
        ("Let $x=5+X$.", "math", None),
        ("Solve 5 for x.", "math", "X"),
        ('Is it 5? [asy]label("$x$",(0,1));[/asy]', "math", "X"),
    ],
)
def test_the_variable_is_one_that_the_question_does_not_use(question, style, variable):
    assert {mask.variable for mask in find_masks(question, style=style)} == ({variable} - {None})


def test_masking_replaces_the_span_alone():
    question = "A pen costs $3.50 and 20% tax."
    money, percent = find_masks(question, style="gsm")
    assert apply_mask(question, money) == "A pen costs $x and 20% tax."
    assert apply_mask(question, percent) == "A pen costs $3.50 and x% tax."


def test_undo_refuses_a_text_without_the_variable_there():
    with pytest.raises(ValueError, match="must hold 'x' at position 2"):
        undo_mask("abc", Mask(2, 3, "5", "integer", "x"), "5")


@pytest.mark.parametrize(
    ("question", "masked_question", "gold"),
    [
        ("one dog", "x dog", "1"),
        ("eat half of it", "eat x% of it", "50"),
        ("a $.50 pen", "a $x pen", "50"),
        ("a $3.00 pen", "a $x pen", "3"),
        ("pay $15, now", "pay x, now", "15"),
        ("a 20% tax", "a x% tax", "20"),
        ("from 3-4 on", "from x on", "4"),
    ],
)
def test_paper_masks_repeat_the_originals_defects(question, masked_question, gold):
    (mask,) = find_masks(question, style="gsm", compat="paper")
    assert (apply_mask(question, mask), mask.value) == (masked_question, gold)


def test_paper_masks_of_math_lose_the_dollars_of_a_token():
    (mask,) = find_masks("Let $2x+3$ be it.", style="math", compat="paper")
    assert (apply_mask("Let $2x+3$ be it.", mask), mask.value) == ("Let X be it.", "3")
