from __future__ import annotations

import pytest

from serve_app.admission.latency import Pace


def paced(*answers: tuple[float, float]) -> Pace:
    pace = Pace()
    for before_s, whole_s in answers:
        pace.add(before_s, whole_s)
    return pace


def test_few_answers_tell_nothing() -> None:
    pace = paced(*[(1.0, 5.0)] * 7)
    assert (pace.usual_s, pace.long_s, pace.ahead) == (0, 0, 0.1)


def test_long_is_what_one_of_ten_takes() -> None:
    pace = paced(*[(0.0, 1.0)] * 8, *[(0.0, 3.0)] * 2)
    assert pace.usual_s == 1
    assert 1 < pace.long_s <= 3


def test_ahead_is_what_is_on_its_way_for_each_that_is_generated() -> None:
    assert paced(*[(0.5, 2.5)] * 8).ahead == pytest.approx(0.1 + 0.25)


def test_what_was_never_generated_tells_nothing_of_it() -> None:
    assert paced(*[(1.0, 1.0)] * 8).ahead == 0.1


def test_the_last_answers_count() -> None:
    assert paced(*[(0.5, 2.5)] * 8, *[(0.0, 9.0)] * 64).usual_s == 9
