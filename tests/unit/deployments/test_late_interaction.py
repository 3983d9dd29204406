from __future__ import annotations

import numpy as np
import pytest

from deployments.late_interaction import MAX_PASSAGE_TOKENS, max_sim, nearest_tokens, pack, refine
from deployments.types import Candidate, Matrix, Passage, Scores

DIMENSION = 384


def tokens(count: int, seed: int) -> Matrix:
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    unit: Matrix = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def candidate(name: str, fused: float) -> Candidate:
    passage = Passage(name, "d", "1", "t", "", "c", "hr", 0, "", "")
    return Candidate(passage, Scores(fused=fused))


def test_a_score_is_the_mean_of_the_largest_cosines() -> None:
    question, passages = tokens(7, 1), [tokens(count, count) for count in (5, 40, 90)]
    exact = [float((question @ passage.T).max(axis=1).mean()) for passage in passages]
    assert max_sim(question, [pack(passage) for passage in passages]) == pytest.approx(exact, abs=0.03)


def test_a_passage_with_the_question_s_own_tokens_is_the_best() -> None:
    passages = [tokens(60, seed) for seed in range(2, 12)]
    scores = max_sim(passages[4][10:20], [pack(passage) for passage in passages])
    assert np.argmax(scores) == 4
    assert 0.9 < scores[4] <= 1.001


def test_a_number_takes_two_bits_and_so_many_tokens_are_kept() -> None:
    assert len(pack(tokens(10, 1))) == 10 * DIMENSION // 4
    assert len(pack(tokens(MAX_PASSAGE_TOKENS + 5, 1))) == MAX_PASSAGE_TOKENS * DIMENSION // 4


def test_passages_without_token_vectors_have_no_score() -> None:
    question = tokens(3, 1)
    assert max_sim(question, [b"", pack(question), b""])[::2] == [0.0, 0.0]
    assert max_sim(question[:0], [pack(question)]) == [0.0]
    assert max_sim(question, []) == []


def test_refined_scores_put_candidates_in_order() -> None:
    candidates = [candidate("a", 1.0), candidate("b", 0.8), candidate("c", 0.5), candidate("d", 0.4)]
    refined = refine(candidates, [0.2, 0.3, 0.25], weight=0.5)
    assert [one.passage.id for one in refined] == ["b", "a", "c", "d"]
    assert [one.scores.fused for one in refined] == pytest.approx([0.9, 0.5, 0.5, 0.2])


def test_without_weight_or_scores_the_order_stays() -> None:
    candidates = [candidate("a", 1.0), candidate("b", 0.8)]
    assert refine(candidates, [0.1, 0.9], weight=0.0) == candidates
    assert [one.passage.id for one in refine(candidates, [], weight=0.7)] == ["a", "b"]


def test_a_passage_without_tokens_has_no_bytes_and_a_score_of_nothing() -> None:
    none = np.zeros((0, 8), np.float32)
    assert pack(none) == b""
    assert max_sim(np.eye(8, dtype=np.float32)[:2], [pack(none)]) == [0.0]
    assert nearest_tokens(none, [b"", pack(np.eye(8, dtype=np.float32))]).shape == (2, 0)
