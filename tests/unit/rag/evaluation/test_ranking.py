from __future__ import annotations

import random

import pytest

from rag.evaluation.ranking import ndcg, recall, reciprocal_rank


def test_a_perfect_ranking_is_1_and_an_empty_one_0() -> None:
    grades = {"a": 2, "b": 1}
    for function in (ndcg, recall, reciprocal_rank):
        assert function(["a", "b", "c"], grades, 10) == 1
        assert function([], grades, 10) == 0
        assert function(["a"], {}, 10) == 0


def test_only_the_first_so_many_count() -> None:
    ranked, grades = ["x", "y", "a"], {"a": 1}
    for function in (ndcg, recall, reciprocal_rank):
        assert function(ranked, grades, 2) == 0
    assert reciprocal_rank(ranked, grades, 3) == pytest.approx(1 / 3)
    assert ndcg(ranked, grades, 3) == 0.5


def test_measures_are_those_of_ir_measures() -> None:
    pytest.importorskip("pytrec_eval")
    import ir_measures
    from ir_measures import RR, R, ScoredDoc, nDCG

    drawn = random.Random(5)
    qrels, run, ours = [], [], {}
    for query in map(str, range(50)):
        documents = [f"d{number}" for number in range(40)]
        grades = {name: drawn.randint(1, 3) for name in drawn.sample(documents, drawn.randint(1, 15))}
        ranked = drawn.sample(documents, drawn.randint(1, 30))
        qrels += [ir_measures.Qrel(query, name, grade) for name, grade in grades.items()]
        run += [ScoredDoc(query, name, 1.0 - rank / 100) for rank, name in enumerate(ranked)]
        ours[query] = {nDCG @ 10: ndcg(ranked, grades, 10), R @ 10: recall(ranked, grades, 10)}
        ours[query][RR @ 10] = reciprocal_rank(ranked, grades, 10)
    theirs = list(ir_measures.iter_calc([nDCG @ 10, R @ 10, RR @ 10], qrels, run))
    assert len(theirs) == 150
    for metric in theirs:
        assert ours[metric.query_id][metric.measure] == pytest.approx(metric.value, abs=1e-6)
