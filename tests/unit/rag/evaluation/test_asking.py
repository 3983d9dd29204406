from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from rag.cli.errors import CliError
from rag.cli.service import Service
from rag.evaluation.asking import ATTEMPTS, Configuration, ask
from rag.evaluation.errors import EvaluationError
from rag.evaluation.gold import Located
from rag.evaluation.questions import Question
from rag.evaluation.run import evaluate

MakeQuestion = Callable[..., Question]
PASSAGE: dict[str, Any] = {
    "id": "p1", "document_id": "a.md", "title": "Zakon", "text": "15 dana", "score": 1.0,
    "metadata": {"headings": ["Zakon", "Članak 2."], "page": 3},
}  # fmt: skip
SOURCES = {"type": "sources", "query_id": "q", "sources": [PASSAGE, PASSAGE | {"id": "p2", "metadata": {}}]}
COMPLETE = {"type": "complete", "query_id": "q", "finish_reason": "stop"}


def chunk(content: str) -> dict[str, Any]:
    return {"type": "chunk", "query_id": "q", "content": content}


def cited(start: int, *sources: str) -> dict[str, Any]:
    return {"type": "citation", "query_id": "q", "sources": list(sources), "start": start, "end": start + 1}


def stream(*messages: dict[str, Any]) -> httpx.Response:
    body = ": ping\n\n" + "".join(f"id: 1\nevent: x\ndata: {json.dumps(one)}\n\n: ping\n\n" for one in messages)
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=body)


def problem(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"title": "Busy", "detail": f"it is {status}"}, headers=headers)


class Fake:
    """Answers each route with the next of its responses; the last one stays."""

    def __init__(self, search: list[httpx.Response], query: list[httpx.Response]) -> None:
        self.left = {"/v1/search": search, "/v1/query": query}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.service = Service("http://service.test", None, httpx.MockTransport(self._handle))

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.url.path, json.loads(request.content)))
        responses = self.left[request.url.path]
        return responses.pop(0) if len(responses) > 1 else responses[0]


@pytest.fixture(name="waits")
def _waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been slept."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


FOUND = httpx.Response(200, json={"results": [PASSAGE]})
CONFIGURATION = Configuration("it", {"collections": ["law"], "top_k": 8}, depth=30)


def test_a_question_is_searched_and_answered(question: MakeQuestion) -> None:
    answer = [SOURCES, chunk("Rok je "), chunk("15 dana. [1]"), cited(9, "p2"), cited(3, "p1"), cited(20), COMPLETE]
    fake = Fake([FOUND], [stream(*answer)])
    reply = ask(fake.service, question("a#art2"), CONFIGURATION)
    assert reply.failure is None
    assert reply.found is not None
    assert [source.at for source in reply.found] == [Located("a.md", ("Zakon", "Članak 2."))]
    assert reply.answer is not None
    assert reply.answer.text == "Rok je 15 dana. [1]"
    assert reply.answer.citations == (("p1",), ("p2",))
    assert [source.at.article for source in reply.answer.sources] == ["2", None]
    assert reply.answer.confidence is None
    assert 0 < reply.answer.sources_ms <= reply.answer.total_ms
    asked = {"collections": ["law"], "query": "Koji je rok?"}
    assert fake.asked == [("/v1/search", asked | {"top_k": 30}), ("/v1/query", asked | {"top_k": 8})]


def test_confidence_is_read_where_it_is(question: MakeQuestion) -> None:
    fake = Fake([FOUND], [stream(SOURCES, COMPLETE | {"confidence": 0.25, "finish_reason": "no_answer"})])
    reply = ask(fake.service, question(answerable=False), CONFIGURATION)
    assert reply.answer is not None
    assert (reply.answer.confidence, reply.answer.is_given) == (0.25, False)
    assert [path for path, _ in fake.asked] == ["/v1/query"]  # nothing to rank


def test_without_answers_only_searches_are_asked(question: MakeQuestion) -> None:
    fake = Fake([FOUND], [])
    reply = ask(fake.service, question("a"), Configuration("it", {}, answers=False))
    assert reply.answer is None
    assert not reply.answer_expected
    assert [path for path, _ in fake.asked] == ["/v1/search"]


def test_it_waits_while_the_service_is_busy(question: MakeQuestion, waits: list[float]) -> None:
    busy = [problem(429, **{"Retry-After": "7"}), problem(503), FOUND]
    reply = ask(Fake(busy, [stream(SOURCES, COMPLETE)]).service, question("a"), CONFIGURATION)
    assert reply.failure is None
    assert waits == [7, 1]


@pytest.mark.parametrize(
    ("search", "query", "failure"),
    [
        (problem(500), stream(), "it is 500"),
        (problem(503), stream(), "it is 503"),
        (httpx.Response(502, text="<html>"), stream(), "the service answered 502"),
        (FOUND, stream(SOURCES, {"type": "error", "error": "the deadline is over"}), "the deadline is over"),
        (FOUND, stream(SOURCES, chunk("Rok")), "the answer broke off before its end"),
    ],
)
def test_a_failure_is_the_questions(
    question: MakeQuestion, waits: list[float], search: httpx.Response, query: httpx.Response, failure: str
) -> None:
    fake = Fake([search], [query])
    assert ask(fake.service, question("a"), CONFIGURATION).failure == failure
    assert len(fake.asked) <= ATTEMPTS


def test_what_would_fail_each_time_ends_it(question: MakeQuestion) -> None:
    with pytest.raises(CliError, match="it is 422"):
        ask(Fake([problem(422)], []).service, question("a"), CONFIGURATION)
    for other in (httpx.Response(200, text="hello"), httpx.Response(200, json={"results": [{}]})):
        with pytest.raises(EvaluationError, match="answered something that is not"):
            ask(Fake([other], []).service, question("a"), CONFIGURATION)
    with pytest.raises(EvaluationError, match="answered something that is not"):
        ask(Fake([FOUND], [httpx.Response(200, json={})]).service, question("a"), CONFIGURATION)
    with pytest.raises(EvaluationError, match="answered something that is not"):
        ask(Fake([FOUND], [stream({"type": "sources"})]).service, question("a"), CONFIGURATION)


def test_both_configurations_are_asked_in_turns(question: MakeQuestion) -> None:
    order: list[str] = []

    def service(name: str) -> Service:
        def handle(request: httpx.Request) -> httpx.Response:
            order.append(name)
            return stream(SOURCES, COMPLETE)

        return Service("http://service.test", None, httpx.MockTransport(handle))

    questions = [question(answerable=False, id=name) for name in ("1", "2")]
    done: list[int] = []
    both = [(service("a"), CONFIGURATION), (service("b"), CONFIGURATION)]
    runs = evaluate(questions, both, on_question=done.append)
    assert order == ["a", "b", "b", "a"]
    assert [[one.question.id for one in run.measured] for run in runs] == [["1", "2"]] * 2
    assert done == [1, 2]


def test_a_service_that_fails_on_each_question_ends_it(question: MakeQuestion) -> None:
    fake = Fake([problem(500)], [])
    with pytest.raises(EvaluationError, match="failed on each of the first 5 questions: it is 500"):
        evaluate([question("a", id=str(number)) for number in range(9)], [(fake.service, CONFIGURATION)])
    assert len(fake.asked) == 5
