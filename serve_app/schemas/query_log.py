"""Queries that have ended, and what was used by day, key or user. Neither holds any text."""

from __future__ import annotations

from datetime import date
from typing import Annotated

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
