from __future__ import annotations

import pytest

from deployments.reranking.blend import blend
from deployments.types import Candidate, Passage, Scores


def candidate(name: str, fused: float | None) -> Candidate:
    passage = Passage(name, "d", "1", "t", "", "c", "en", 0, "", name)
    return Candidate(passage, Scores(dense=0.9, lexical=3.0, fused=fused))


def test_scores_are_weighed_and_the_best_is_first() -> None:
    found = blend([candidate("a", 0.8), candidate("b", 0.6)], [0.1, 0.9], 0.3)
    assert [blended.passage.id for blended in found] == ["b", "a"]
    assert [blended.scores.rerank for blended in found] == pytest.approx([0.3 * 0.9 + 0.7 * 0.6, 0.3 * 0.1 + 0.7 * 0.8])
    assert found[0].scores == Scores(dense=0.9, lexical=3.0, fused=0.6, rerank=found[0].scores.final)


@pytest.mark.parametrize(("weight", "order"), [(0.0, ["a", "b"]), (1.0, ["b", "a"])])
def test_the_weights_ends_are_each_score_alone(weight: float, order: list[str]) -> None:
    found = blend([candidate("a", 0.8), candidate("b", 0.6)], [0.1, 0.9], weight)
    assert [blended.passage.id for blended in found] == order


def test_equal_ones_keep_their_order() -> None:
    found = blend([candidate(name, 0.5) for name in "cab"], [0.4, 0.4, 0.4], 0.5)
    assert [blended.passage.id for blended in found] == ["c", "a", "b"]


def test_a_fused_score_out_of_range_or_missing_cannot_rule() -> None:
    found = blend([candidate("a", 25.0), candidate("b", None)], [0.0, 1.0], 0.6)
    assert [(blended.passage.id, blended.scores.rerank) for blended in found] == [("b", 0.6), ("a", pytest.approx(0.4))]
