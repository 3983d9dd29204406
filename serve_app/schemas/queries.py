"""Questions and searches, and what they are answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from deployments.types import Language, Scores, Usage
from serve_app.query.answer_events import AnswerEvent, Chunk, Citation, Complete, Failure, Grounding, Source, Sources
from serve_app.query.request import SearchResult
from serve_app.schemas.base import FilterText, From, Name, Number, ResponseModel, Seed, Text, Whole, Wire


class SearchRequest(Wire):
    query: Text = Field(description="the question, 1 to 8,000 characters", examples=["Koji je rok za žalbu?"])
    language: Language | None = Field(
        None, description="language of the answer; by default taken from the question, else the default language"
    )
    user: Name | None = Field(None, description="also search this user's private documents", examples=["u1"])
    collections: tuple[Name, ...] = Field((), description="search only these; empty: all", examples=[["zakoni"]])
    filter: FilterText = None
    top_k: Whole | None = Field(None, ge=1, description="passages to use; by default 8, at most 50")


class Turn(Wire):
    role: Literal["user", "assistant"]
    content: Text


class QueryRequest(SearchRequest):
    history: tuple[Turn, ...] = Field(
        (),
        description="the conversation so far, the oldest turn first; the prompt loses the oldest ones that do not fit",
        examples=[[{"role": "user", "content": "Što je žalba?"}, {"role": "assistant", "content": "Pravni lijek."}]],
    )
    stream: bool = Field(True, description="true: server-sent events; false: one JSON object")
    max_tokens: Whole | None = Field(None, ge=1, description="most tokens of the answer; by default 512, at most 4,096")
    temperature: Number = Field(0.0, ge=0, le=2)
    seed: Seed = None


EVENT_TYPES: Mapping[type[AnswerEvent], str] = {
    Sources: "sources",
    Chunk: "chunk",
    Citation: "citation",
    Complete: "complete",
    Failure: "error",
}
"""`type` of each event of an answer's stream. Neither these nor the events' keys ever change."""


def event_as_json(event: AnswerEvent) -> dict[str, Any]:
    """An event of an answer's stream as its JSON object, `type` first."""
    return {"type": EVENT_TYPES[type(event)], **asdict(event)}


Timings = Annotated[dict[str, float], Field(description="milliseconds by stage")]


class Cited(ResponseModel):
    """Characters `start` to `end` of the answer, a statement, cite these sources (their ids)."""

    sources: list[str]
    start: int
    end: int
    status: Literal["supported", "unsupported", "uncited"] | None = Field(
        description="whether the sources support it; uncited: it has none; null: it was not checked, or states nothing"
    )


class Answer(ResponseModel):
    query_id: str
    answer: str
    sources: list[Source]
    citations: list[Cited]
    usage: Usage
    timings: Timings
    finish_reason: str
    engine: str
    model: str | None
    degraded: list[str] = Field(description="stages that were skipped or replaced")
    confidence: float | None = Field(
        description="the probability that the answer answers the question; null if the engine cannot tell"
    )
    grounding: Grounding | None = Field(
        description="how many statements their sources support; null if answers are not checked"
    )

    @classmethod
    def of(cls, text: str, sources: Iterable[Source], citations: Iterable[Citation], complete: Complete) -> Self:
        cited = [Cited.model_validate(citation) for citation in citations]
        return cls(
            query_id=complete.query_id,
            answer=text,
            sources=list(sources),
            citations=cited,
            usage=complete.usage,
            timings=dict(complete.timings),
            finish_reason=complete.finish_reason,
            engine=complete.engine,
            model=complete.model,
            degraded=list(complete.degraded),
            confidence=complete.confidence,
            grounding=complete.grounding,
        )


class Result(ResponseModel):
    id: Annotated[str, From(lambda candidate: candidate.passage.id)]
    document_id: Annotated[str, From(lambda candidate: candidate.passage.document_id)]
    title: Annotated[str, From(lambda candidate: candidate.passage.title)]
    text: Annotated[str, From(lambda candidate: candidate.passage.text)]
    metadata: Annotated[dict[str, Any], From(lambda candidate: candidate.passage.metadata)]
    score: Annotated[float, From(lambda candidate: candidate.scores.final)]
    scores: Scores


class Found(ResponseModel):
    query_id: str
    results: list[Result]
    timings: Timings
    degraded: list[str] = Field(description="stages that were skipped")

    @classmethod
    def of(cls, query_id: str, found: SearchResult) -> Self:
        return cls(
            query_id=query_id,
            results=[Result.model_validate(candidate) for candidate in found.candidates],
            timings=dict(found.timings),
            degraded=list(found.degraded),
        )


class Cancelling(ResponseModel):
    query_id: str
    state: Literal["cancelling"]
