"""Ask and find: POST /query, DELETE /query/{id}, POST /search."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.responses import Response

from serve_app import questions
from serve_app.api.access import Caller, DeadlineSeconds, Serving
from serve_app.api.streaming import events
from serve_app.schemas import QueryRequest, SearchRequest

router = APIRouter(tags=["query"])
QueryId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


@router.post("/query", response_class=StreamingResponse)
async def ask(body: QueryRequest, serving: Serving, caller: Caller, deadline_s: DeadlineSeconds) -> Response:
    """Answer a question from the caller's documents, with numbered citations and their sources."""
    query = await questions.admit(serving, caller, body, deadline_s)
    headers = {"X-Query-ID": query.id, "Cache-Control": "no-store"}
    if not body.stream:
        return JSONResponse(await questions.whole(serving, query), headers=headers)
    stream = events(query.id, questions.answer(serving, query), heartbeat_s=serving.limits.heartbeat_s)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


@router.delete("/query/{query_id}", status_code=202)
async def cancel(serving: Serving, caller: Caller, query_id: QueryId) -> dict[str, str]:
    """Stop a query of the caller's tenant, whichever replica works on it; its stream ends as `cancelled`."""
    questions.cancel(serving, caller, query_id)
    return {"query_id": query_id, "state": "cancelling"}


@router.post("/search")
async def search(body: SearchRequest, serving: Serving, caller: Caller, deadline_s: DeadlineSeconds) -> dict[str, Any]:
    """Find passages without generating: best first, with each stage's score."""
    return await questions.search(serving, await questions.admit(serving, caller, body, deadline_s))
