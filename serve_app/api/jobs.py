"""GET /jobs/{id}: how far the ingestion of accepted documents has come."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field

from deployments.errors import NotFound
from deployments.ingestion.base import DocumentState
from serve_app.api.access import Caller, Serving
from serve_app.api.contract import A_TIME, Shown, Time, answers, refusals
from serve_app.platform.jobs import BulkState, JobState
from serve_app.schemas import Text

router = APIRouter(tags=["jobs"])
JobId = Annotated[Text, Path(max_length=64, examples=["job_0b3f6a5c9d7e4f1c8a2b6d5e4f3a2b1c"])]


class DocumentError(Shown):
    code: str
    detail: str


class DocumentProgress(Shown):
    id: str
    state: DocumentState
    chunks: int = Field(description="pieces that the document was cut into; 0 until that is known")
    chunks_done: int = Field(description="of those in the index")
    error: DocumentError | None


class Bulk(Shown):
    """The Ray Job that indexes a job's documents. Once it has ended, the ordinary workers index what it left."""

    ray_job: str = Field(description="its submission id in Ray's dashboard")
    state: BulkState
    detail: str | None = Field(description="why it ended before all was done, or could not begin")


class Job(Shown):
    id: str
    state: JobState
    counts: dict[DocumentState, int] = Field(description="documents by state")
    documents: list[DocumentProgress]
    bulk: Bulk | None = Field(description="null unless it was asked for in bulk")
    created_at: Time
    updated_at: Time


_DONE = {
    "id": "job_0b3f6a5c9d7e4f1c8a2b6d5e4f3a2b1c",
    "state": "partial",
    "counts": {"queued": 0, "parsing": 0, "embedding": 0, "indexed": 1, "failed": 1, "cancelled": 0},
    "documents": [
        {"id": "nn-30-18", "state": "indexed", "chunks": 48, "chunks_done": 48, "error": None},
        {
            "id": "scan",
            "state": "failed",
            "chunks": 0,
            "chunks_done": 0,
            "error": {"code": "broken_document", "detail": "scan.pdf: no text in it"},
        },
    ],
    "bulk": None,
    "created_at": A_TIME,
    "updated_at": A_TIME,
}


@router.get("/jobs/{job_id}", response_model=Job, responses={200: answers(example=_DONE), **refusals(NotFound)})
async def get(serving: Serving, caller: Caller, job_id: JobId) -> dict[str, Any]:
    """The job's state, counts by state, and each document's state with its error if it has one."""
    return await serving.jobs.view(caller.tenant_id, job_id)
