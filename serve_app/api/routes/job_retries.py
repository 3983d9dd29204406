"""Failed documents of a job are worked on again, in a job of their own."""

from __future__ import annotations

from fastapi import APIRouter, Response

from deployments.errors import Conflict, NotFound, QuotaExceeded, RateLimited
from serve_app.api.dependencies import JobId, ServicesDep, Writer
from serve_app.api.idempotency import CreatingRoute
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.schemas.jobs import RetriedJob

router = APIRouter(tags=["jobs"], route_class=CreatingRoute)

_RETRIED = {
    "job_id": "job_8a2b6d5e4f3a2b1c0b3f6a5c9d7e4f1c",
    "document_id": "scan",
    "documents": [{"id": "scan", "filename": "scan.pdf"}],
    "left_out": [{"id": "nn-30-18", "reason": "replaced"}],
}


@router.post(
    "/jobs/{job_id}/retry",
    status_code=202,
    response_model=RetriedJob,
    responses={
        202: describe_response("Location", example=_RETRIED),
        **describe_errors(NotFound, Conflict, QuotaExceeded, RateLimited),
    },
)
async def retry(job_id: JobId, response: Response, services: ServicesDep, caller: Writer) -> RetriedJob:
    """Queue the failed documents of a job again, as they were handed in, in a new job. The first one does not change.

    `left_out` names failed documents that were deleted, changed or handed in again since, and those whose bytes are no
    longer kept (`retention.failed_bytes_days`). 409 if no document failed or none is left, and for a job that
    reindexes.
    """
    retried = await services.jobs.retry(caller, job_id)
    response.headers["Location"] = f"/v1/jobs/{retried.id}"
    return RetriedJob.of_retry(retried)
