"""Jobs: how far the ingestion of accepted documents has come."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from deployments.errors import NotFound, RateLimited
from serve_app.api.dependencies import After, Caller, JobId, PageSize, ServicesDep, Writer
from serve_app.api.openapi import describe_errors, describe_event, describe_event_stream, describe_response
from serve_app.api.routes import job_retries
from serve_app.api.streaming import PING, EventStream, StreamEvent, event, events
from serve_app.platform.jobs import JobSummary
from serve_app.query.answer_events import Failure
from serve_app.schemas.base import A_TIME, Text
from serve_app.schemas.jobs import (
    AfterFailure,
    FailedDocuments,
    Job,
    JobEvent,
    Jobs,
    ListedJob,
    OfError,
    OfJob,
    OfState,
)
from serve_app.services.access import Access
from serve_app.services.container import Services

router = APIRouter(tags=["jobs"])
LastEventId = Annotated[
    Text | None, Header(alias="Last-Event-ID", description="the id of the last event that was received", examples=["2"])
]


_JOB = {
    "id": "job_0b3f6a5c9d7e4f1c8a2b6d5e4f3a2b1c",
    "state": "partial",
    "counts": {"queued": 0, "parsing": 0, "embedding": 0, "indexed": 1, "failed": 1, "cancelled": 0},
    "created_at": A_TIME,
    "updated_at": A_TIME,
}
_LISTED = _JOB | {"chunks": 48, "chunks_done": 48}
_DONE = _JOB | {
    "documents": [
        {
            "id": "nn-30-18",
            "state": "indexed",
            "chunks": 48,
            "chunks_done": 48,
            "warnings": ["2 pictures without text"],
            "error": None,
        },
        {
            "id": "scan",
            "state": "failed",
            "chunks": 0,
            "chunks_done": 0,
            "warnings": [],
            "error": {"code": "broken_document", "detail": "scan.pdf: no text in it"},
        },
    ],
    "bulk": None,
}
_FAILED = {
    "job_id": _JOB["id"],
    "id": "scan",
    "filename": "scan.pdf",
    "collection": "default",
    "user": None,
    "error": {"code": "broken_document", "detail": "scan.pdf: no text in it"},
    "failed_at": A_TIME,
}
_UNDER_WAY = {
    **_LISTED,
    "state": "running",
    "counts": {"queued": 0, "parsing": 0, "embedding": 1, "indexed": 1, "failed": 0, "cancelled": 0},
    "chunks": 60,
    "chunks_done": 52,
}
_EVENTS = describe_event_stream(
    ("progress", "complete", "error"),
    (JobEvent.model_json_schema(), describe_event(Failure)),
    {
        "progress": event({"type": "progress", **_UNDER_WAY}, 2),
        "complete": event({"type": "complete", **_LISTED}, 3),
        "error": event(Failure(str(_LISTED["id"]), "the database is busy or gone", "unavailable", True), 4),
        "heartbeat": PING,
    },
)


@router.get("/jobs", response_model=Jobs, responses={200: describe_response(example={"jobs": [_LISTED], "next": None})})
async def list_(
    services: ServicesDep, caller: Writer, limit: PageSize, after: After = "", state: OfState = None
) -> Jobs:
    """The tenant's jobs, the newest first; `next` is the `after` of the next page.

    A page of jobs in one state examines a bounded number of jobs. So it may hold few or none, and still have a `next`.
    """
    return Jobs.model_validate(await services.jobs.list(caller, state, after=after, limit=limit))


@router.post(
    "/jobs/{job_id}/cancel",
    response_model=Job,
    responses={200: describe_response(example=_DONE), **describe_errors(NotFound)},
)
async def cancel(services: ServicesDep, caller: Writer, job_id: JobId) -> Job:
    """End a job. Waiting documents are cancelled at once, others within seconds; what is indexed stays.

    A job that is over does not change.
    """
    return Job.model_validate(await services.jobs.cancel(caller, job_id))


router.include_router(job_retries.router)


@router.get(
    "/failures",
    response_model=FailedDocuments,
    responses={200: describe_response(example={"failures": [_FAILED], "next": None}), **describe_errors(NotFound)},
)
async def list_failures(
    services: ServicesDep,
    caller: Writer,
    limit: PageSize,
    error: Annotated[OfError, Query()] = None,
    job_id: Annotated[OfJob, Query()] = None,
    after: Annotated[AfterFailure, Query()] = "",
) -> FailedDocuments:
    """Documents of the tenant's jobs that failed, of all jobs or of one: those that were handed in last come first.

    They are listed until their job is removed (`retention.jobs_days`), also once a later version is indexed.
    """
    page = await services.jobs.failures(caller, error=error, job_id=job_id, after=after, limit=limit)
    return FailedDocuments.model_validate(page)


@router.get(
    "/jobs/{job_id}", response_model=Job, responses={200: describe_response(example=_DONE), **describe_errors(NotFound)}
)
async def get(services: ServicesDep, caller: Caller, job_id: JobId) -> Job:
    """The job's state, counts by state, and each document's state with its error if it has one."""
    return Job.model_validate(await services.jobs.get(caller, job_id))


@router.get(
    "/jobs/{job_id}/events",
    response_class=EventStream,
    responses={
        200: describe_response(content=_EVENTS, description="server-sent events"),
        204: {"description": "`complete` was received: there is nothing more to read"},
        **describe_errors(NotFound, RateLimited),
    },
)
async def follow(services: ServicesDep, caller: Caller, job_id: JobId, last_event_id: LastEventId = None) -> Response:
    """The job now, and again with each change, as `progress`. The last event is `complete`, when the job is over.

    A job that is over has that event alone. A stream ends without it after a quarter of an hour: open it again. If the
    job can no longer be read, or its tenant is suspended, the last event is `error`, with the job's id as `query_id`. A
    tenant may have `api.max_job_streams` streams open at one replica.

    Ids go on from `Last-Event-ID`, which a browser's EventSource sends when it opens the stream again. Once it has
    received `complete`, it is answered 204, and ends.
    """
    last = int(last_event_id) if last_event_id and re.fullmatch("[0-9]{1,15}", last_event_id) else 0
    first = await services.jobs.summary(caller, job_id)
    if first.over and _is_id_of_complete(last):
        return Response(status_code=204)
    services.jobs.check_room_to_follow(caller)
    stream = events(
        job_id,
        _progress(services, caller, first),
        heartbeat_s=services.config.heartbeat_s,
        encode=lambda message, number: event(message, _event_id(message, number + last // 2)),
    )
    return EventStream(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _event_id(message: StreamEvent, number: int) -> int:
    """Counts up, and tells by itself whether the event is `complete`: such ids are odd."""
    is_complete = isinstance(message, Mapping) and message["type"] == "complete"
    return 2 * number - 1 if is_complete else 2 * number


def _is_id_of_complete(event_id: int) -> bool:
    return event_id % 2 == 1


async def _progress(services: Services, caller: Access, first: JobSummary) -> AsyncGenerator[dict[str, Any]]:
    async with aclosing(services.jobs.follow(caller, first)) as changes:
        async for job in changes:
            yield {"type": "complete" if job.over else "progress", **ListedJob.model_validate(job).as_json()}
