from __future__ import annotations

from collections.abc import Callable

import pytest

from rag.evaluation.asking import Answer, Reply, Source
from rag.evaluation.facts import hold_all, normalise, within
from rag.evaluation.measures import SOURCES_CHARACTERS, measure
from rag.evaluation.questions import Question

Make = Callable[..., Source]
MakeQuestion = Callable[..., Question]
MakeAnswer = Callable[..., Answer]


def test_facts_are_substrings_after_folding() -> None:
    assert normalise("  Ｒok\u00a0je\n15  DANA ") == "rok je 15 dana"
    assert hold_all(["u roku od 15\ndana", "POVJERENIKU"], ["15 dana", "povjereniku"])
    assert not hold_all(["u roku od 15", "dana"], ["15 dana"])  # never across two texts
    assert hold_all([], [])


def test_texts_are_cut_at_so_many_characters() -> None:
    assert within(["abc", "def", "ghi"], 4) == ["abc", "d", ""]


def test_ranks_come_from_the_search(question: MakeQuestion, source: Make, answer: MakeAnswer) -> None:
    found = (source("a.md", "1"), source("a.md", "2"))
    values = measure(question("a#art2", "b#art1"), Reply(found, answer("x", source("b.md", "1")))).values
    assert values["mrr@10"] == 0.5
    assert values["recall@10"] == 0.5


def test_without_a_search_the_sources_are_ranked(question: MakeQuestion, source: Make, answer: MakeAnswer) -> None:
    reply = Reply(None, answer("x", source("b.md"), source("a.md")))
    assert measure(question("a"), reply).values["mrr@10"] == 0.5


def test_facts_in_sources_first_three_and_answer(question: MakeQuestion, source: Make, answer: MakeAnswer) -> None:
    texts = ["", "15 dana", "", "Povjereniku"]
    sources = [source("a.md", str(number), text) for number, text in enumerate(texts)]
    values = measure(question("a", facts=["15 dana", "povjereniku"]), Reply((), answer("Rok je 15 dana.", *sources)))
    assert [values.values[f"facts_in_{where}"] for where in ("sources", "first_three", "answer")] == [1, 0, 0]
    long = source("a.md", "9", "x" * SOURCES_CHARACTERS)
    values = measure(question("a", facts=["15 dana"]), Reply((), answer("", long, *sources)))
    assert values.values["facts_in_sources"] == 0


def test_citations_of_an_answer_that_was_given(question: MakeQuestion, source: Make, answer: MakeAnswer) -> None:
    sources = [source("a.md", "1"), source("a.md", "2"), source("b.md", "3")]
    asked = question("a#art1", "c#art1")
    values = measure(asked, Reply((), answer("x", *sources, cites=[2, 1, 1]))).values
    assert (values["citation_precision"], values["citation_recall"], values["first_citation_right"]) == (0.5, 0.5, 0)
    values = measure(asked, Reply((), answer("x", *sources, cites=[1, 2]))).values
    assert values["first_citation_right"] == 1
    values = measure(asked, Reply((), answer("x", *sources))).values
    assert (values["citation_precision"], values["first_citation_right"]) == (0, 0)


@pytest.mark.parametrize("answerable", [True, False])
def test_not_sure_is_refused(question: MakeQuestion, answer: MakeAnswer, answerable: bool) -> None:
    asked = question("a") if answerable else question(answerable=False)
    for reason, text, given in (("stop", "x", True), ("no_answer", "x", False), ("stop", " ", False)):
        one = measure(asked, Reply((), answer(text, finish_reason=reason)))
        assert one.values["answered" if answerable else "refused"] == float(given == answerable)
        assert one.confidence == float(given)
        assert ("citation_precision" in one.values) == (given and answerable)
    assert measure(asked, Reply((), answer(finish_reason="no_answer", confidence=0.4))).confidence == 0.4


def test_a_question_that_failed_found_nothing(question: MakeQuestion) -> None:
    one = measure(question("a", facts=["x"]), Reply(failure="down"))
    assert {name for name, value in one.values.items() if value == 0} == set(one.values)
    assert {"ndcg@10", "facts_in_sources", "facts_in_answer", "answered"} <= set(one.values)
    assert "answer_ms" not in one.values
    assert one.confidence == 0
    unanswerable = measure(question(answerable=False), Reply(failure="down"))
    assert (unanswerable.values, unanswerable.confidence) == ({"refused": 0.0}, 1)
    searched = measure(question("a"), Reply(failure="down", answer_expected=False))
    assert set(searched.values) == {"ndcg@10", "recall@10", "mrr@10"}
    assert searched.confidence is None
