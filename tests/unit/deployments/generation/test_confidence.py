from __future__ import annotations

from dataclasses import replace

import pytest

from deployments.generation.confidence import Signals, confidence

E5 = Signals(agreement=0.6, coverage=0.4, nearness=0.8, embedder="intfloat/multilingual-e5-small")


@pytest.mark.parametrize("signals", [replace(E5, embedder="other"), replace(E5, nearness=None)])
def test_by_terms_it_is_a_probability_that_grows_with_agreement_and_coverage(signals: Signals) -> None:
    least, middle, most = (confidence(replace(signals, agreement=each, coverage=each)) for each in (0.0, 0.5, 1.0))
    assert 0 < least < middle < most < 1


def test_nearness_alone_counts_for_the_model_that_it_was_calibrated_with() -> None:
    nearer = replace(E5, nearness=0.85)
    assert 0 < confidence(E5) < confidence(nearer) < 1
    assert confidence(replace(E5, coverage=1.0)) == confidence(E5)
    assert confidence(replace(nearer, embedder="other")) == confidence(replace(E5, embedder="other"))
