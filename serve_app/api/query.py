"""Ask and find: POST /query, DELETE /query/{id}, POST /search."""

from __future__ import annotations

import uuid
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.responses import Response

from deployments import filters
from deployments.errors import InvalidRequest
from deployments.lexical import detect_language
from deployments.types import Scope
from serve_app.api.schemas import QueryRequest, SearchRequest
from serve_app.api.services import Caller, DeadlineSeconds, Services, Serving
from serve_app.api.streaming import events, wire
from serve_app.messages import Chunk, Citation, Complete, Sources
from serve_app.pipeline import Query
from serve_app.platform.keys import Principal

router = APIRouter(tags=["query"])


@router.post("/query", response_class=StreamingResponse)
async def ask(body: QueryRequest, serving: Serving, caller: Caller, deadline_s: DeadlineSeconds) -> Response:
    """Answer a question from the caller's documents, with numbered citations and their sources."""
    query = await _admit(
        body,
        serving,
        caller,
        deadline_s,
        max_tokens=_within("max_tokens", body.max_tokens, serving.limits.max_tokens, serving.limits.max_max_tokens),
        temperature=body.temperature,
        seed=body.seed,
    )
    headers = {"X-Query-ID": query.id, "Cache-Control": "no-store"}
    if not body.stream:
        return JSONResponse(await _whole(serving, query), headers=headers)
    stream = events(query.id, serving.pipeline.answer(query), heartbeat_s=serving.limits.heartbeat_s)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


@router.delete("/query/{query_id}", status_code=202)
async def cancel(serving: Serving, caller: Caller, query_id: str = Path(pattern=r"^[0-9a-f]{32}$")) -> dict[str, str]:
    """Stop a query of the caller's tenant, whichever replica works on it; its stream ends as `cancelled`."""
    serving.pipeline.generate.abort(caller.tenant_id, query_id)
    return {"query_id": query_id, "state": "cancelling"}


@router.post("/search")
async def search(body: SearchRequest, serving: Serving, caller: Caller, deadline_s: DeadlineSeconds) -> dict[str, Any]:
    """Find passages without generating: best first, with each stage's score."""
    query = await _admit(body, serving, caller, deadline_s, max_tokens=1)
    found = await serving.pipeline.search(query)
    results = [
        {
            "id": candidate.passage.id,
            "document_id": candidate.passage.document_id,
            "title": candidate.passage.title,
            "text": candidate.passage.text,
            "metadata": candidate.passage.metadata,
            "score": candidate.scores.final,
            "scores": asdict(candidate.scores),
        }
        for candidate in found.candidates
    ]
    return {"query_id": query.id, "results": results, "timings": found.timings}


async def _admit(
    body: SearchRequest, serving: Services, caller: Principal, deadline_s: float, *, max_tokens: int, **sampling: Any
) -> Query:
    """Everything that can refuse a query, before any stage works for it."""
    limits = serving.limits
    text = body.query.strip()
    if not text:
        raise InvalidRequest("query is empty; send the question's text")
    if len(body.query) > limits.max_query_characters:
        raise InvalidRequest(
            f"query has {len(body.query)} characters; at most {limits.max_query_characters} are allowed"
        )
    if len(body.collections) > limits.max_collections:
        raise InvalidRequest(f"collections names {len(body.collections)}; at most {limits.max_collections} are allowed")
    condition = (
        filters.parse(body.filter, max_bytes=limits.max_filter_bytes, max_depth=limits.max_filter_depth)
        if body.filter is not None
        else None
    )
    top_k = _within("top_k", body.top_k, limits.top_k, limits.max_top_k)
    await serving.collections.require(caller.tenant_id, body.collections)
    return Query(
        id=uuid.uuid4().hex,
        text=text,
        language=body.language or detect_language(text, limits.default_language),
        scope=Scope(caller.tenant_id, body.user or "", tuple(sorted(set(body.collections))), condition),
        top_k=top_k,
        candidates=max(limits.candidates, top_k),
        max_tokens=max_tokens,
        deadline_s=deadline_s,
        first_token_s=limits.first_token_s,
        **sampling,
    )


def _within(field: str, asked: int | None, default: int, most: int) -> int:
    if asked is not None and asked > most:
        raise InvalidRequest(f"{field} is {asked}; at most {most} is allowed")
    return asked or default


async def _whole(serving: Services, query: Query) -> dict[str, Any]:
    """The stream's messages folded into one object."""
    answer: dict[str, Any] = {"query_id": query.id, "answer": "", "sources": [], "citations": []}
    async with aclosing(serving.pipeline.answer(query)) as messages:
        async for message in messages:
            match message:
                case Sources():
                    answer["sources"] = wire(message)["sources"]
                case Chunk():
                    answer["answer"] += message.content
                case Citation():
                    answer["citations"].append({"sources": message.sources, "start": message.start, "end": message.end})
                case Complete():
                    answer |= {k: v for k, v in wire(message).items() if k not in ("type", "query_id")}
    return answer
