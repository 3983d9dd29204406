from __future__ import annotations

import pytest

from serve_app.admission.latency import AnswerLatency


def latency_of(*answers: tuple[float, float]) -> AnswerLatency:
    latency = AnswerLatency()
    for preparing_s, total_s in answers:
        latency.record(preparing_s, total_s)
    return latency


def test_seven_answers_are_too_few_to_tell() -> None:
    latency = latency_of(*[(1.0, 5.0)] * 7)
    assert (latency.median_s, latency.p90_s, latency.preparing_ratio) == (0, 0, 0.1)


def test_p90_sees_the_slow_answers_and_the_median_does_not() -> None:
    latency = latency_of(*[(0.0, 1.0)] * 8, *[(0.0, 3.0)] * 2)
    assert latency.median_s == 1
    assert 1 < latency.p90_s <= 3


def test_preparing_ratio_is_time_before_generation_per_time_of_generation() -> None:
    assert latency_of(*[(0.5, 2.5)] * 8).preparing_ratio == pytest.approx(0.1 + 0.25)


def test_answers_that_were_never_generated_leave_the_margin_alone() -> None:
    assert latency_of(*[(1.0, 1.0)] * 8).preparing_ratio == 0.1


def test_only_the_latest_answers_count() -> None:
    assert latency_of(*[(0.5, 2.5)] * 8, *[(0.0, 9.0)] * 64).median_s == 9
