import random

import pytest

from metamath_ray.bootstrap import BuildOptions, Load, Pilot, estimate_rest
from metamath_ray.bootstrap._pilot import PilotQuestion, _student_95
from metamath_ray.teacher import Counters, TeacherOptions

CELL, OTHER = ("own", "rephrasing"), ("own", "fobar")
TEACHER = TeacherOptions(usd_per_million_prompt_tokens=1.0, usd_per_million_completion_tokens=10.0)


def question(cell, expected: int, taken: int) -> PilotQuestion:
    return PilotQuestion(cell, Load(1, 2, 500, expected), Load(1, 2, 600, taken))


def pilot_of(*questions: PilotQuestion, seconds: tuple[float, ...] = (1.0, 2.0, 3.0)) -> Pilot:
    return Pilot(questions, seconds, Counters())


def test_the_rest_takes_as_much_more_as_the_pilot_did() -> None:
    pilot = pilot_of(*[question(CELL, 100, 150)] * 5, *[question(OTHER, 100, 50)] * 5)
    left = {CELL: Load(10, 20, 5_000, 1_000), OTHER: Load(20, 40, 10_000, 2_000)}
    rest = estimate_rest(left, pilot, TEACHER)
    assert rest.completion_tokens.value == rest.completion_tokens.low == pytest.approx(1_500 + 1_000)
    assert rest.prompt_tokens.value == pytest.approx(18_000)
    assert rest.requests.value == pytest.approx(30)
    assert rest.usd.value == pytest.approx(0.018 + 0.025)
    assert rest.seconds_a_call.value == pytest.approx(2.0)
    halved = TEACHER.model_copy(update={"interface": "batch"})
    assert estimate_rest(left, pilot, halved).usd.value == pytest.approx((0.018 + 0.025) / 2)


def test_the_interval_holds_the_true_figure_95_times_in_100() -> None:
    chance, held = random.Random(7), 0
    for _ in range(600):
        rows = []
        for cell, scale in ((CELL, 1.0), (OTHER, 2.0)):
            expected = [chance.randint(50, 150) for _ in range(80)]
            taken = [one * scale * chance.gauss(1.0, 0.3) for one in expected]
            rows.append((cell, expected, taken))
        asked = [question(cell, expected[i], taken[i]) for cell, expected, taken in rows for i in range(10)]
        left = {cell: Load(70, 140, 35_000, sum(expected[10:])) for cell, expected, _ in rows}
        estimate = estimate_rest(left, pilot_of(*asked), TEACHER).completion_tokens
        held += estimate.low <= sum(sum(taken[10:]) for _, _, taken in rows) <= estimate.high
    assert 0.92 <= held / 600 <= 0.98


@pytest.mark.parametrize(("degrees", "point"), [(3, 3.182), (8, 2.306), (30, 2.042), (1000, 1.962)])
def test_the_interval_is_students(degrees: int, point: float) -> None:
    assert _student_95(degrees) == pytest.approx(point, rel=0.01)


def test_what_is_all_asked_takes_nothing_more() -> None:
    rest = estimate_rest({CELL: Load()}, pilot_of(question(CELL, 100, 150)), TEACHER)
    assert rest.usd.value == rest.usd.high == 0.0


@pytest.mark.parametrize("options", [{}, {"plan": True}], ids=["no-plan", "no-teacher"])
def test_a_pilot_needs_a_plan_and_a_teacher(options: dict) -> None:
    with pytest.raises(ValueError, match="pilot 5 needs --plan and a teacher"):
        BuildOptions(pilot=5, **options)


def test_minutes_follow_the_tightest_limit() -> None:
    pilot = pilot_of(*[question(CELL, 100, 100)] * 5, seconds=(2.0, 2.0, 2.0))
    rest = estimate_rest({CELL: Load(600, 1200, 0, 60_000)}, pilot, TEACHER)
    assert rest.minutes(TeacherOptions(max_in_flight=1)).value == pytest.approx(20)
    assert rest.minutes(TeacherOptions(max_in_flight=1, rpm=10)).value == pytest.approx(60)
    assert rest.minutes(TeacherOptions(max_in_flight=1, tpm=100)).value == pytest.approx(600)
