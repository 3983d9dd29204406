from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from benchmarks.quality_ours import COLLECTIONS, documents_of, misses, questions_of, right_first
from deployments.lexical import detect_language
from rag.evaluation.asking import Configuration, Reply, Source
from rag.evaluation.gold import Gold, Located
from rag.evaluation.measures import measure
from rag.evaluation.questions import Question
from rag.evaluation.run import Run

pytestmark = pytest.mark.unit


def run(*found: Sequence[str] | None) -> Run:
    """A question for each, whose right document is `right`; None: the service failed."""
    measured = [
        measure(Question(f"q{number}", "Koji je rok?", {Gold("right"): 1}), reply(names))
        for number, names in enumerate(found, 1)
    ]
    return Run(Configuration("outside_law", {}, answers=False), tuple(measured))


def reply(names: Sequence[str] | None) -> Reply:
    if names is None:
        return Reply(failure="the service answered 500", answer_expected=False)
    sources = [Source(f"{name}/{place}", Located(f"outside_law/{name}"), name, "…") for place, name in enumerate(names)]
    return Reply(tuple(sources), answer_expected=False)


@pytest.mark.parametrize(("collection", "documents"), [("outside_law", 24), ("cross_language", 20)])
def test_each_question_has_one_document_that_exists(collection: str, documents: int) -> None:
    files, questions = documents_of(collection), questions_of(collection)
    assert (len(files), len(questions)) == (documents, 20)
    stems = {file.path.stem for file in files}
    golds = [str(gold) for question in questions for gold in question.gold]
    assert len(golds) == 20
    assert set(golds) <= stems
    assert len(set(golds)) == 20  # no document answers two
    assert len({question.text.casefold() for question in questions}) == 20


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_documents_are_short_texts_below_a_title_of_their_own(collection: str) -> None:
    texts = [file.path.read_text("utf-8") for file in documents_of(collection)]
    assert all(text.startswith("# ") and 120 <= len(text.split()) <= 250 for text in texts)
    assert len({text.splitlines()[0] for text in texts}) == len(texts)


def test_questions_are_in_the_other_language_than_their_document() -> None:
    texts = {file.path.stem: file.path.read_text("utf-8") for file in documents_of("cross_language")}
    directions = Counter(question.id.rpartition("-")[0] for question in questions_of("cross_language"))
    assert directions == {"hr-en": 12, "en-hr": 8}
    for question in questions_of("cross_language"):
        [gold] = question.gold
        assert detect_language(texts[gold.document], "hr") == question.id.split("-")[1]


def test_only_the_first_passage_counts() -> None:
    assert right_first(run(["right.md", "a.md"], ["a.md", "right.md"], [], None)) == 1


def test_each_miss_is_told_with_what_came_first() -> None:
    lines = list(misses(run(["right.md"], ["a.md", "a.md", "right.md"], ["a.md"], [], None)))
    assert lines == [
        "q2 'Koji je rok?': outside_law/a.md first, right is number 2",
        "q3 'Koji je rok?': outside_law/a.md first, right was not found",
        "q4 'Koji je rok?': nothing first, right was not found",
        "q5 'Koji je rok?': nothing first, right was not found (the service answered 500)",
    ]
