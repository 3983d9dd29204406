"""Queries that have ended, and what was used by day, key or user. Neither holds any text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Self

from pydantic import Field

from serve_app.platform.daily_usage import By
from serve_app.schemas.base import From, Next, ResponseModel, Time


class LoggedQuery(ResponseModel):
    query_id: str
    at: Time = Field(description="when its answer ended")
    outcome: str = Field(description="its finish reason, or its error's code", examples=["stop"])
    user: str = Field(description="empty: for no user")
    key_id: str = Field(description="the key that asked; empty in entries of before it was kept")
    request_id: str = Field(description="X-Request-ID of the request; empty in entries of before it was kept")
    trace_id: str = Field(description="the trace of the request; empty in entries of before it was kept")
    language: str
    engine: str | None = Field(description="what generated the answer; null: nothing did")
    model: str | None
    sources: int = Field(description="how many sources the answer had")
    prompt_tokens: int
    cached_tokens: int = Field(description="those of the prompt that came from the prefix cache")
    completion_tokens: int
    degraded: list[str] = Field(description="stages that failed and were skipped or replaced")
    timings: dict[str, float] = Field(
        description="milliseconds by stage, and from the start to `sources`, `first_token` and `total`; empty unless "
        "the answer was complete"
    )


class QuerySpan(ResponseModel):
    name: str
    service: str = Field(description="the deployment whose process made it")
    replica: str
    node: str
    depth: int = Field(description="0: the request; 1: below it; and so on")
    start_ms: float = Field(description="from the beginning of the request; work that questions share may begin before")
    milliseconds: float
    status: str = Field(description="`unset`, or `error`", examples=["unset"])
    error: str | None = Field(description="the error's code, or its class")
    batch_size: int | None = Field(description="of a pass or an index call: the texts or questions in it")
    batch_calls: int | None = Field(description="of a pass or an index call: the calls that shared it")


class QueryTrace(ResponseModel):
    query_id: str
    trace_id: str
    spans: list[QuerySpan] = Field(description="the request and all below it, each before what is below it")

    @classmethod
    def of(cls, query_id: str, trace_id: str, spans: Sequence[Mapping[str, Any]]) -> Self:
        """`spans`: by their beginnings, as `deployments.telemetry.span_files` gives them."""
        root = next(each for each in spans if each["attributes"].get("rag.query_id") == query_id)
        below: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for each in spans:
            if each is not root:
                below[each["parent_span_id"]].append(each)
        ordered, waiting = list[QuerySpan](), [(0, root)]
        while waiting:
            depth, span = waiting.pop()
            ordered.append(_query_span(span, depth, root["start_ns"]))
            waiting += [(depth + 1, child) for child in reversed(below.pop(span["span_id"], []))]
        return cls(query_id=query_id, trace_id=trace_id, spans=ordered)


def _query_span(span: Mapping[str, Any], depth: int, began_ns: int) -> QuerySpan:
    attributes = span["attributes"]
    return QuerySpan(
        name=span["name"],
        service=span["service"].removeprefix("rag-"),
        replica=span["replica"],
        node=span["node"],
        depth=depth,
        start_ms=round((span["start_ns"] - began_ns) / 1e6, 3),
        milliseconds=round((span["end_ns"] - span["start_ns"]) / 1e6, 3),
        status=span["status"],
        error=attributes.get("error.type"),
        batch_size=attributes.get("rag.batch.size"),
        batch_calls=attributes.get("rag.batch.calls"),
    )


class LoggedQueries(ResponseModel):
    queries: Annotated[list[LoggedQuery], From(lambda page: page.rows)]
    next: Next


class UsedBy(ResponseModel):
    name: str = Field(description="the day, the key's id or the user; an empty user: for no user")
    questions: int = Field(description="all that ended, also those that failed or were cancelled")
    failed: int
    cancelled: int
    prompt_tokens: int
    cached_tokens: int = Field(description="those of prompts that came from the prefix cache")
    completion_tokens: int


class Stored(ResponseModel):
    documents: int
    bytes: int = Field(description="in the blob store, with old versions that wait to be removed")


class UsageReport(ResponseModel):
    by: By
    since: date | None = Field(description="the first day")
    until: date | None = Field(description="the day after the last")
    used: list[UsedBy]
    stored: Stored = Field(description="what the tenant has now, whatever the days")
    next: Next
