from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rag.evaluation.asking import Answer, Reply, Source
from rag.evaluation.gold import Gold, Located
from rag.evaluation.measures import Measured, measure
from rag.evaluation.questions import Question

MakeQuestion = Callable[..., Question]
MakeSource = Callable[..., Source]
MakeAnswer = Callable[..., Answer]
MakeMeasured = Callable[..., Measured]


def source(document: str, article: str | None = None, text: str = "…") -> Source:
    headings = ("Zakon", f"Članak {article}.") if article else ()
    return Source(f"{document}/{article}", Located(document, headings), document, text)


def question(
    *gold: str, id: str = "q1", text: str = "Koji je rok?", facts: Sequence[str] = (), answerable: bool = True
) -> Question:
    return Question(id, text, {Gold.parse(one): 1 for one in gold}, tuple(facts), answerable)


def answer(text: str = "Rok je 15 dana. [1]", *sources: Source, cites: Sequence[int] = (), **fields: Any) -> Answer:
    """`cites`: numbers of the sources, from 1, each a citation of its own."""
    given = {"finish_reason": "stop", "confidence": None, "sources_ms": 10.0, "total_ms": 20.0} | fields
    citations = tuple((sources[number - 1].id,) for number in cites)
    return Answer(text=text, sources=sources, citations=citations, **given)


@pytest.fixture(name="source")
def _source() -> MakeSource:
    return source


@pytest.fixture(name="question")
def _question() -> MakeQuestion:
    return question


@pytest.fixture(name="answer")
def _answer() -> MakeAnswer:
    return answer


@pytest.fixture
def measured() -> MakeMeasured:
    """A question that was answered or refused, with a confidence."""

    def make(*, answerable: bool = True, refused: bool = False, confidence: float | None = None) -> Measured:
        asked = question("a", answerable=True) if answerable else question(answerable=False)
        reason = "no_answer" if refused else "stop"
        return measure(asked, Reply((), answer(finish_reason=reason, confidence=confidence)))

    return make
