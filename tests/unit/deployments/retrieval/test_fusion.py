from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.retrieval.fusion import dense_share, fuse
from deployments.types import Candidate, IndexEntry, Passage, Scores

Entry = Callable[..., IndexEntry]


def candidate(id: str, dense: float | None = None, lexical: float | None = None) -> Candidate:
    return Candidate(Passage(id, "d", "v", "t", "", "c", "hr", 0, "", ""), Scores(dense=dense, lexical=lexical))


def ranking(candidates: list[Candidate]) -> list[tuple[str, float | None]]:
    return [(c.passage.id, None if c.scores.fused is None else round(c.scores.fused, 6)) for c in candidates]


def test_the_weighted_sum_of_the_stretched_cosine_and_the_relative_lexical_score() -> None:
    both = [candidate("a", 0.9, 1.0), candidate("b", 0.8, 4.0), candidate("c", 0.7, 0.0)]
    assert ranking(fuse(both, both[::-1], dense_weight=0.7)) == [("a", 0.775), ("b", 0.65), ("c", 0.0)]
    assert ranking(fuse(both, both[::-1], dense_weight=0.1)) == [("b", 0.95), ("a", 0.325), ("c", 0.0)]


def test_the_range_of_a_models_cosines_makes_no_difference() -> None:
    wide = [candidate("a", 0.9, 1.0), candidate("b", 0.5, 4.0), candidate("c", 0.1, 2.0)]
    narrow = [candidate("a", 0.84, 1.0), candidate("b", 0.80, 4.0), candidate("c", 0.76, 2.0)]
    assert ranking(fuse(wide, wide, dense_weight=0.7)) == ranking(fuse(narrow, narrow, dense_weight=0.7))


def test_a_candidate_of_one_half_keeps_the_score_it_has_of_the_other() -> None:
    fused = fuse([candidate("a", 0.8, 0.0), candidate("b", 0.4, 0.0)], [candidate("c", 0.7, 2.0)], dense_weight=0.5)
    assert ranking(fused) == [("c", 0.875), ("a", 0.5), ("b", 0.0)]
    assert fused[0].scores.dense == 0.7


def test_an_unknown_cosine_counts_as_the_lowest_seen_and_an_unknown_lexical_score_as_none() -> None:
    dense = [candidate("a", 0.8), candidate("b", 0.4)]
    fused = fuse(dense, [candidate("c", None, 2.0)], dense_weight=0.6)
    assert ranking(fused) == [("a", 0.6), ("c", 0.4), ("b", 0.0)]
    assert fused[1].scores.dense is None
    assert fused[0].scores.lexical is None


def test_scores_of_both_halves_meet_in_one_candidate() -> None:
    (only,) = fuse([candidate("a", 0.8)], [candidate("a", None, 2.0)], dense_weight=0.5)
    assert only.scores == Scores(dense=0.8, lexical=2.0, fused=1.0)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_half_alone_has_all_the_weight(weight: float) -> None:
    dense = [candidate("a", 0.5), candidate("b", 0.4)]
    assert ranking(fuse(dense, [], dense_weight=weight)) == [("a", 1.0), ("b", 0.0)]
    assert ranking(fuse([], [candidate("a", None, 3.0)], dense_weight=weight)) == [("a", 1.0)]
    assert fuse([], [], dense_weight=weight) == []


def test_ties_are_broken_by_id() -> None:
    tied = [candidate(id, 0.5) for id in "cab"]
    assert [c.passage.id for c in fuse(tied, [], dense_weight=0.7)] == ["a", "b", "c"]


halves = st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 1), st.floats(0, 9)), unique_by=lambda c: c[0])


@given(halves, halves, st.floats(0, 1))
def test_every_candidate_comes_out_once_in_order_of_its_score(
    dense: list[tuple[str, float, float]], lexical: list[tuple[str, float, float]], weight: float
) -> None:
    fused = fuse([candidate(*c) for c in dense], [candidate(*c) for c in lexical], dense_weight=weight)
    assert sorted(c.passage.id for c in fused) == sorted({c[0] for c in [*dense, *lexical]})
    scores = [c.scores.fused for c in fused]
    assert all(score is not None and -1e-9 <= score <= 1 + 1e-9 for score in scores)
    assert scores == sorted(scores, key=lambda score: -(score or 0.0))


def test_the_dense_share_depends_on_the_languages_that_the_embedder_knows() -> None:
    weights = {"dense_weight": 0.7, "dense_weight_other": 0.1}
    assert dense_share(("en",), "en", **weights) == 0.7
    assert dense_share(("en",), "hr", **weights) == 0.1
    assert dense_share((), "hr", **weights) == 0.7
