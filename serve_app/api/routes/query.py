"""Ask and find: POST /query, DELETE /query/{id}, POST /search."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.responses import Response

from deployments.types import Scores, Usage
from serve_app.api.dependencies import Asker, Caller, DeadlineSeconds, ServicesDep
from serve_app.api.idempotency import QuestionRoute
from serve_app.api.openapi import (
    QUESTION_ERRORS,
    describe_errors,
    describe_event,
    describe_event_stream,
    describe_response,
)
from serve_app.api.streaming import PING, EventStream, event, events
from serve_app.query.answer_events import Chunk, Citation, Complete, Failure, Grounding, Source, Sources
from serve_app.schemas.queries import EVENT_TYPES, Answer, Cancelling, Found, QueryRequest, SearchRequest

router = APIRouter(tags=["query"], route_class=QuestionRoute)
QueryId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", examples=["3f2a9c4e5b6d7f8091a2b3c4d5e6f708"])]

Timings = Annotated[dict[str, float], Field(description="milliseconds by stage")]


_ID = "3f2a9c4e5b6d7f8091a2b3c4d5e6f708"
_SOURCE = Source("p1", "nn-30-18", "Zakon o radu", "Rok je 15 dana.", 0.83, {"year": 2018})
_TIMINGS = {"embedding": 8.1, "retrieval": 12.5, "reranking": 20.4, "first_token": 96.0, "total": 410.2}
_GROUNDING = Grounding(supported=1, unsupported=0, uncited=0, unchecked=0, share=1.0)
_STREAM = describe_event_stream(
    EVENT_TYPES.values(),
    map(describe_event, EVENT_TYPES),
    {
        "sources": event(Sources(_ID, (_SOURCE,)), 1),
        "chunk": event(Chunk(_ID, "Rok je 15 dana [1]."), 2),
        "citation": event(Citation(_ID, ("p1",), 0, 15, "supported"), 3),
        "complete": event(
            Complete(_ID, Usage(812, 9), _TIMINGS, "stop", "vllm", "Qwen/Qwen3-8B", grounding=_GROUNDING), 4
        ),
        "error": event(Failure(_ID, "generation lost its replica; try again", "stage_unavailable", True), 4),
        "heartbeat": PING,
    },
)
_ANSWER = {
    "query_id": _ID,
    "answer": "Rok je 15 dana [1].",
    "sources": [asdict(_SOURCE)],
    "citations": [{"sources": ["p1"], "start": 0, "end": 15, "status": "supported"}],
    "usage": asdict(Usage(812, 9)),
    "timings": _TIMINGS,
    "degraded": [],
    "finish_reason": "stop",
    "engine": "vllm",
    "model": "Qwen/Qwen3-8B",
    "confidence": None,
    "grounding": asdict(_GROUNDING),
}
_FOUND = {
    "query_id": _ID,
    "results": [asdict(_SOURCE) | {"scores": asdict(Scores(0.71, 3.2, 0.031, 0.83))}],
    "timings": {"embedding": 8.1, "retrieval": 12.5, "reranking": 20.4},
    "degraded": [],
}
_REFUSED = describe_errors(*QUESTION_ERRORS)


@router.post(
    "/query",
    response_class=EventStream,
    responses={
        200: describe_response(
            "X-Query-ID",
            model=Answer,
            content=_STREAM,
            example=_ANSWER,
            description="server-sent events, or one object if not streamed",
        ),
        **_REFUSED,
    },
)
async def ask(body: QueryRequest, services: ServicesDep, caller: Asker, deadline_s: DeadlineSeconds) -> Response:
    """Answer a question from the caller's documents, with numbered citations and their sources.

    A failure before a stream's first byte has its own status. A later one is its last event, `error`.
    """
    admitted = await services.queries.ask(caller, body, deadline_s)
    headers = {"X-Query-ID": admitted.query.id, "Cache-Control": "no-store"}
    if not body.stream:
        return JSONResponse((await services.queries.collect_answer(admitted)).as_json(), headers=headers)
    stream = events(admitted.query.id, services.queries.answer(admitted), heartbeat_s=services.config.heartbeat_s)
    return EventStream(stream, ending=admitted.ending, media_type="text/event-stream", headers=headers)


@router.delete(
    "/query/{query_id}",
    status_code=202,
    response_model=Cancelling,
    responses={202: describe_response(example={"query_id": _ID, "state": "cancelling"})},
)
async def cancel(services: ServicesDep, caller: Caller, query_id: QueryId) -> Cancelling:
    """Stop a query of the caller's tenant, on any replica. Its stream ends as `cancelled`."""
    services.queries.cancel(caller, query_id)
    return Cancelling(query_id=query_id, state="cancelling")


@router.post("/search", response_model=Found, responses={200: describe_response(example=_FOUND), **_REFUSED})
async def search(body: SearchRequest, services: ServicesDep, caller: Asker, deadline_s: DeadlineSeconds) -> Found:
    """Find passages without an answer: best first, with each stage's score."""
    query = await services.queries.validate(caller, body, deadline_s)
    return await services.queries.search(query)
