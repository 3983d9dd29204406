from __future__ import annotations

from collections.abc import Callable

import pytest

from rag.evaluation.asking import Reply
from rag.evaluation.figures import differences, figures, question_differences
from rag.evaluation.measures import Measured, measure
from rag.evaluation.questions import Question

MakeMeasured = Callable[..., Measured]


def valued(**values: float) -> Measured:
    return Measured(Question("q", "?", {}), Reply(answer_expected=False), values)


def test_a_mean_is_of_the_questions_that_have_the_measure() -> None:
    found = figures([valued(answered=1.0), valued(answered=0.0), valued()])
    assert found["answered"].value == 0.5
    assert found["answered"].questions == 2
    assert 0 <= found["answered"].low < 0.5 < found["answered"].high <= 1
    assert "refused" not in found


def test_intervals_are_the_same_each_time_and_narrow_with_questions() -> None:
    few, many = ([valued(answered=float(number % 2)) for number in range(size)] for size in (10, 1000))
    assert figures(few) == figures(few)
    width = [found["answered"].high - found["answered"].low for found in (figures(few), figures(many))]
    assert width[1] == pytest.approx(4 * 0.5 / 1000**0.5, rel=0.15)
    assert width[0] > 5 * width[1]


def test_percentiles_are_values_that_were_measured() -> None:
    found = figures([valued(sources_ms=float(number)) for number in range(1, 101)] + [valued()])
    assert (found["sources_ms_p50"].value, found["sources_ms_p95"].value) == (50, 95)
    assert found["sources_ms_p50"].questions == 100


def test_answering_is_told_by_confidence(measured: MakeMeasured) -> None:
    good = [measured(confidence=0.9), measured(confidence=0.6)]
    bad = [measured(answerable=False, confidence=0.6), measured(answerable=False, refused=True, confidence=0.1)]
    found = figures(good + bad)
    assert found["answering_auc"].value == (1 + 1 + 0.5 + 1) / 4
    assert found["balanced_accuracy"].value == (1 + 0.5) / 2


def test_without_confidence_it_is_told_by_whether_it_answered(measured: MakeMeasured) -> None:
    good = [measured(), measured(refused=True)]
    bad = [measured(answerable=False, refused=True)] * 2
    found = figures(good + bad)
    assert found["answering_auc"].value == found["balanced_accuracy"].value == 0.75


def test_differences_are_paired(measured: MakeMeasured) -> None:
    first = [valued(answered=float(number % 2), sources_ms=10.0) for number in range(100)]
    second = [valued(answered=1.0, sources_ms=10.0) for _ in range(100)]
    found = differences(first, second)
    assert found["answered"].value == 0.5
    assert found["answered"].is_clear
    assert not found["sources_ms_p50"].is_clear
    same = differences(first, first)["answered"]
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert question_differences(first[0], second[0]) == {"answered": 1.0, "sources_ms": 0.0}


def test_a_figure_that_one_side_lacks_has_no_difference(measured: MakeMeasured) -> None:
    searched = measure(Question("q", "?", {}), Reply(answer_expected=False))
    assert differences([searched], [valued(answered=1.0)]) == {}
