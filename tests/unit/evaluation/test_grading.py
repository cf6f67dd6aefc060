"""Grading beside the engine: an interrupt ends it with the piece at hand."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from metamath_ray.evaluation import Prediction
from metamath_ray.evaluation._grading import Grading

from .conftest import make_prediction


def predictions(num: int) -> list[Prediction]:
    one = make_prediction(completion="The answer is: 0", expected="0")
    return [replace(one, request_key=str(number)) for number in range(num)]


def test_all_that_was_submitted_is_graded_in_the_end() -> None:
    given = predictions(200)
    with Grading("fixed") as grading:
        grading.submit(given[:150])
        grading.submit(given[150:])
        grading.finish()
    assert (grading.graded, grading.correct) == (200, 200)
    assert [grading.of(one).verdict_fixed for one in given] == ["correct"] * 200


def test_an_interrupt_leaves_most_of_it_ungraded(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_go_on, sizes = threading.Event(), threading.Event(), list[int]()

    def grade(given: Sequence[Prediction], *, pool: object) -> Sequence[Prediction]:
        sizes.append(len(given))
        begun.set()
        assert may_go_on.wait(60)
        return given

    monkeypatch.setattr("metamath_ray.evaluation._grading.grade_predictions", grade)
    grading = Grading("fixed")
    grading.submit(predictions(1000))
    assert begun.wait(60)
    grading.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    may_go_on.set()
    grading._thread.shutdown()
    assert len(sizes) == 1
    assert sizes[0] < 100


def test_what_the_grading_raises_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metamath_ray.evaluation._grading.grade_predictions", lambda *_, **__: 1 / 0)
    with Grading("fixed") as grading:
        grading.submit(predictions(1))
        with pytest.raises(ZeroDivisionError):
            grading.finish()
