"""GET /queries, /queries/{id} and /queries/{id}/trace: what became of each question."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from deployments.errors import NotFound
from serve_app.api.dependencies import After, Caller, PageSize, ServicesDep, Writer
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.api.routes.query import QueryId
from serve_app.platform.query_log import ChosenQueries
from serve_app.schemas.base import A_TIME, Label, Moment
from serve_app.schemas.query_log import LoggedQueries, LoggedQuery, QueryTrace

router = APIRouter(tags=["query log"])

_LOGGED = {
    "query_id": "3f2a9c4e5b6d7f8091a2b3c4d5e6f708",
    "at": A_TIME,
    "outcome": "stop",
    "user": "u1",
    "key_id": "key_0b3f6a5c9d7e4f1c8a2b6d5e4f3a2b1c",
    "request_id": "0b3f6a5c9d7e4f1c8a2b6d5e4f3a2b1c",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "language": "hr",
    "engine": "vllm",
    "model": "Qwen/Qwen3-8B",
    "sources": 3,
    "prompt_tokens": 812,
    "cached_tokens": 640,
    "completion_tokens": 9,
    "degraded": [],
    "timings": {"embedding": 8.1, "retrieval": 12.5, "reranking": 20.4, "first_token": 96.0, "total": 410.2},
}

_SPAN = {
    "name": "POST /v1/query",
    "service": "ingress",
    "replica": "rag#ingress#k3v0q1",
    "node": "host-1",
    "depth": 0,
    "start_ms": 0.0,
    "milliseconds": 410.9,
    "status": "unset",
    "error": None,
    "batch_size": None,
    "batch_calls": None,
}


@router.get(
    "/queries",
    response_model=LoggedQueries,
    responses={200: describe_response(example={"queries": [_LOGGED], "next": None})},
)
async def list_(
    services: ServicesDep,
    caller: Writer,
    limit: PageSize,
    after: After = "",
    user: Annotated[Label | None, Query(max_length=256, description="of this user; empty: for no user")] = None,
    key: Annotated[Label | None, Query(max_length=64, description="asked with the key of this id")] = None,
    outcome: Annotated[
        Label | None, Query(max_length=64, description="that ended so: a finish reason, or an error's code")
    ] = None,
    since: Annotated[Moment | None, Query(description="that ended at this moment or later")] = None,
    until: Annotated[Moment | None, Query(description="that ended before this moment")] = None,
) -> LoggedQueries:
    """The tenant's questions that have ended, the newest first; `next` is the `after` of the page of older ones.

    A page examines a bounded number of questions. So one with a user, key or outcome may hold few or none, and still
    have a `next`. Searches are not logged.
    """
    chosen = ChosenQueries(user, key, outcome, since, until)
    page = await services.query_log.page(
        caller.tenant_id, chosen, after=after, limit=limit, max_scanned=services.config.max_scanned
    )
    return LoggedQueries.model_validate(page)


@router.get(
    "/queries/{query_id}",
    response_model=LoggedQuery,
    responses={200: describe_response(example=_LOGGED), **describe_errors(NotFound)},
)
async def get(services: ServicesDep, caller: Caller, query_id: QueryId) -> LoggedQuery:
    """How a question of the tenant was answered, and what took how long. It is there about a second after its end."""
    return LoggedQuery.model_validate(await services.query_log.get(caller.tenant_id, query_id))


@router.get(
    "/queries/{query_id}/trace",
    response_model=QueryTrace,
    responses={
        200: describe_response(
            example={"query_id": _LOGGED["query_id"], "trace_id": _LOGGED["trace_id"], "spans": [_SPAN]}
        ),
        **describe_errors(NotFound),
    },
)
async def trace(services: ServicesDep, caller: Caller, query_id: QueryId) -> QueryTrace:
    """The spans of a question of the tenant, as a waterfall. Where `telemetry.exporter` is `file`, and for a question
    that was sampled; each node has the spans of its own processes."""
    trace_id, spans = await services.query_traces.get(caller.tenant_id, query_id)
    return QueryTrace.of(query_id, trace_id, spans)
