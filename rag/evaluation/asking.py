"""Asks a question as a client does, and keeps what came and when."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from rag.evaluation.errors import EvaluationError
from rag.evaluation.gold import Located
from rag.evaluation.questions import Question

ATTEMPTS = 6
"""Of a request that the service is too busy for (429 and 503)."""
LONGEST_PAUSE_S = 60.0
_TIMEOUT = httpx.Timeout(120, connect=5)


class Service(Protocol):
    """What is needed of an HTTP client of the service: `rag.cli.service.Service` is one."""

    http: httpx.Client
    url: str

    def check(self, response: httpx.Response) -> None:
        """Raises the caller's own error, with the service's reason, unless the answer is a success."""

    def reachable(self) -> AbstractContextManager[None]:
        """Turns connection errors inside the block into the caller's own."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is evaluated: a name to show, and the fields that each question is asked with (`collections`, `top_k`, …).

    `depth`: how many passages are searched for the ranking measures; 0: the answer's sources are ranked. As many as the
    service takes from each half of retrieval by default: with more, it would search differently than for an answer.
    `answers`: whether answers are asked for at all.
    """

    name: str
    fields: Mapping[str, Any]
    depth: int = 40
    answers: bool = True


@dataclass(frozen=True, slots=True)
class Source:
    """A passage that was found or shown. `id` is the passage's."""

    id: str
    at: Located
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """`citations`: the ids of the sources that each citation names, in the order of the text.

    `confidence`: how sure the service says it is, None if it does not say. Times are milliseconds from sending.
    """

    text: str
    sources: tuple[Source, ...]
    citations: tuple[tuple[str, ...], ...]
    finish_reason: str
    confidence: float | None
    sources_ms: float
    total_ms: float

    @property
    def is_given(self) -> bool:
        """False if the service says that it has no answer, or is not sure of the one that it shows."""
        return self.finish_reason != "no_answer" and bool(self.text.strip())


@dataclass(frozen=True, slots=True)
class Reply:
    """`found`: what a search finds, best first; None if none was made. `failure`: why there is no answer or ranking.
    `answer_expected`: whether an answer was asked for."""

    found: tuple[Source, ...] | None = None
    answer: Answer | None = None
    failure: str | None = None
    answer_expected: bool = True


class _FailedError(Exception):
    """The service failed on this question."""


def ask(service: Service, question: Question, configuration: Configuration) -> Reply:
    """Search, then answer, one after the other. A failure of the service is in the reply.

    Raises EvaluationError if the answer is not one of the service. Raises the caller's own error if the service refuses
    the request or cannot be reached, because the next question would end the same way.
    """
    body = {**configuration.fields, "query": question.text}
    found, answer = None, None
    try:
        if question.gold and configuration.depth:
            found = _search(service, {**body, "top_k": configuration.depth})
        if configuration.answers:
            answer = _answer(service, body)
    except _FailedError as error:
        return Reply(found, answer, str(error), configuration.answers)
    return Reply(found, answer, answer_expected=configuration.answers)


def _search(service: Service, body: Mapping[str, Any]) -> tuple[Source, ...]:
    with _sent(service, "/v1/search", body) as response:
        response.read()
        try:
            return tuple(_source(result) for result in response.json()["results"])
        except (ValueError, KeyError, TypeError):
            raise _not_the_service(service) from None


def _answer(service: Service, body: Mapping[str, Any]) -> Answer:
    from httpx_sse import EventSource

    began = time.perf_counter()
    sources: tuple[Source, ...] = ()
    sources_ms = 0.0
    text: list[str] = []
    citations: list[tuple[int, tuple[str, ...]]] = []
    with _sent(service, "/v1/query", body) as response:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            raise _not_the_service(service)
        try:
            for message in _messages(EventSource(response)):
                match message["type"]:
                    case "sources":
                        sources_ms = _since(began)
                        sources = tuple(_source(source) for source in message["sources"])
                    case "chunk":
                        text.append(message["content"])
                    case "citation":
                        if message["sources"]:  # a statement that cites nothing is told, too
                            citations.append((message["start"], tuple(message["sources"])))
                    case "error":
                        raise _FailedError(f"{message['error']}")
                    case "complete":
                        return Answer(
                            text="".join(text),
                            sources=sources,
                            citations=tuple(cited for _, cited in sorted(citations, key=lambda pair: pair[0])),
                            finish_reason=message["finish_reason"],
                            confidence=_confidence(message),
                            sources_ms=sources_ms,
                            total_ms=_since(began),
                        )
        except (ValueError, KeyError, TypeError):
            raise _not_the_service(service) from None
    raise _FailedError("the answer broke off before its end")


@contextmanager
def _sent(service: Service, path: str, body: Mapping[str, Any]) -> Iterator[httpx.Response]:
    """The response to a request, its body not read yet. Waits and asks again while the service is too busy."""
    for attempt in range(1, ATTEMPTS + 1):
        with service.reachable(), service.http.stream("POST", path, json=dict(body), timeout=_TIMEOUT) as response:
            busy = response.status_code in (429, 503) and attempt < ATTEMPTS
            if not busy:
                if response.is_server_error:
                    response.read()
                    raise _FailedError(_reason(response))
                service.check(response)
                yield response
                return
            pause = _retry_after(response)
        time.sleep(pause)


def _messages(events: Any) -> Iterator[Mapping[str, Any]]:
    for event in events.iter_sse():
        if event.data:  # a heartbeat has none
            yield json.loads(event.data)


def _source(fields: Mapping[str, Any]) -> Source:
    headings = fields["metadata"].get("headings") or ()
    named = tuple(heading for heading in headings if isinstance(heading, str)) if isinstance(headings, list) else ()
    return Source(fields["id"], Located(fields["document_id"], named), fields["title"], fields["text"])


def _confidence(complete: Mapping[str, Any]) -> float | None:
    value = complete.get("confidence")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _reason(response: httpx.Response) -> str:
    try:
        return f"{response.json()['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"the service answered {response.status_code}"


def _retry_after(response: httpx.Response) -> float:
    given = response.headers.get("Retry-After", "")
    return min(float(given), LONGEST_PAUSE_S) if given.isdecimal() else 1.0


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def _not_the_service(service: Service) -> EvaluationError:
    return EvaluationError(f"{service.url} answered something that is not this service's; check the address")
