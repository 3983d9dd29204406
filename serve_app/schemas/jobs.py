"""Jobs, and how far each of their documents has come."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from deployments.errors import ERROR_CODES
from deployments.ingestion.base import DocumentState
from serve_app.platform.job_states import BulkState, JobState
from serve_app.platform.jobs import JobView
from serve_app.platform.retries import Reason, Retried
from serve_app.schemas.base import From, Next, ResponseModel, Text, Time
from serve_app.schemas.documents import AcceptedDocument, AcceptedJob, Warnings

OfState = Annotated[JobState | None, Field(description="jobs in this state")]


class DocumentError(ResponseModel):
    code: str
    detail: str


class DocumentProgress(ResponseModel):
    id: str
    state: DocumentState
    chunks: int = Field(description="pieces that the document was cut into; 0 until that is known")
    chunks_done: int = Field(description="of those in the index")
    warnings: Warnings
    error: DocumentError | None


class Bulk(ResponseModel):
    """The Ray Job that indexes a job's documents. Once it has ended, the ordinary workers index what it left."""

    ray_job: str = Field(description="its submission id in Ray's dashboard")
    state: BulkState
    detail: str | None = Field(description="why it ended before all was done, or could not begin")


class _Job(ResponseModel):
    id: str
    state: JobState
    counts: dict[DocumentState, int] = Field(description="documents by state")


class Job(_Job):
    documents: list[DocumentProgress]
    bulk: Bulk | None = Field(description="the Ray Job of a bulk job, else null")
    created_at: Time
    updated_at: Time


def job_as_json(job: JobView) -> dict[str, Any]:
    return Job.model_validate(job).as_json()


class ListedJob(_Job):
    chunks: int = Field(description="pieces that the documents were cut into, as far as that is known")
    chunks_done: int = Field(description="of those in the index")
    created_at: Time
    updated_at: Time


class Jobs(ResponseModel):
    jobs: Annotated[list[ListedJob], From(lambda page: page.rows)]
    next: Next


class JobEvent(ListedJob):
    type: Literal["progress", "complete"]


OfError = Annotated[
    Literal[ERROR_CODES] | None,  # type: ignore[valid-type]
    Field(description="documents that failed with this error", examples=["broken_document"]),
]
OfJob = Annotated[
    Text | None, Field(max_length=64, description="documents of this job", examples=["job_0b3f6a5c9d7e4f1c8a2b6d5e"])
]
AfterFailure = Annotated[Text, Field(max_length=64 + 1 + 256, description="the `next` of the page before")]


class FailedDocument(ResponseModel):
    """A version of a document that could not be indexed. One before it may be live."""

    job_id: str
    id: Annotated[str, From(lambda failed: failed.document_id)]
    filename: str
    collection: str
    user: Annotated[str | None, From(lambda failed: failed.owner or None)] = Field(
        description="whose private document it is; null: the whole tenant's"
    )
    error: DocumentError
    failed_at: Time


class FailedDocuments(ResponseModel):
    failures: Annotated[list[FailedDocument], From(lambda page: page.rows)]
    next: Next


class LeftOut(ResponseModel):
    id: str
    reason: Reason = Field(
        description="`deleted`: it was deleted since. `replaced`: it was changed or handed in again since. "
        "`bytes_removed`: its bytes are no longer kept"
    )


class RetriedJob(AcceptedJob):
    """The job of a retry."""

    left_out: list[LeftOut] = Field(description="failed documents that are not worked on again")

    @classmethod
    def of_retry(cls, job: Retried) -> Self:
        return cls(
            job_id=job.id,
            document_id=job.documents[0][0] if len(job.documents) == 1 else None,
            documents=[AcceptedDocument(id=id, filename=filename) for id, filename in job.documents],
            left_out=[LeftOut(id=each.id, reason=each.reason) for each in job.left_out],
        )
