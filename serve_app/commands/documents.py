"""Documents in and out, and the jobs that index them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from serve_app.commands.base import Call, TenantCommand, command
from serve_app.schemas.base import Label, Name, Paged, Text
from serve_app.schemas.documents import (
    AcceptedJob,
    Bulk,
    DeletedDocuments,
    Document,
    DocumentDeletion,
    DocumentPatch,
    DocumentRequest,
    Documents,
    DocumentSelection,
)
from serve_app.schemas.jobs import AfterFailure, FailedDocuments, Jobs, OfError, OfJob, OfState, RetriedJob, job_as_json


@command("process_documents")
class ProcessDocuments(TenantCommand):
    """Take documents, as text or by their URIs, and queue them for indexing, all or none.

    With `async` false the result is the job once it has ended; if the deadline comes first, the job as it stands.
    """

    documents: tuple[DocumentRequest, ...] = Field(min_length=1, description="at most `api.max_files`")
    bulk: Bulk = False
    asynchronous: bool = Field(True, alias="async", description="false: wait until the documents are indexed")

    async def run(self, call: Call) -> dict[str, Any]:
        call.services.limits.check_documents(len(self.documents))
        requests = {f"documents.{position}.": document for position, document in enumerate(self.documents)}
        uploads = await call.services.documents.read_requests(call.caller, requests)
        job = await call.services.documents.accept(call.caller, uploads, bulk=self.bulk)
        if self.asynchronous:
            return AcceptedJob.of(job, uploads).as_json()
        return job_as_json(await call.services.jobs.wait(call.caller, job.id, call.deadline_s))


@command("list_documents")
class ListDocuments(TenantCommand, DocumentSelection, Paged):
    """The tenant's documents in the order of their ids, its users' private ones too."""

    after: Label = Field("", max_length=256, description="the `next` of the page before")

    async def run(self, call: Call) -> dict[str, Any]:
        limit = call.services.limits.resolve_page_size(self.limit)
        page = await call.services.documents.list(call.caller, self, after=self.after, limit=limit)
        return Documents.model_validate(page).as_json()


@command("get_document")
class GetDocument(TenantCommand):
    """A document as searches see it; while no version is live, as it was handed in last."""

    document_id: Name

    async def run(self, call: Call) -> dict[str, Any]:
        return Document.model_validate(await call.services.documents.get(call.caller, self.document_id)).as_json()


@command("update_document")
class UpdateDocument(TenantCommand, DocumentPatch):
    """Change a document's metadata; nothing is embedded again."""

    document_id: Name

    async def run(self, call: Call) -> dict[str, Any]:
        changed = await call.services.documents.change_metadata(call.caller, self.document_id, self.metadata)
        return Document.model_validate(changed).as_json()


@command("delete_document")
class DeleteDocument(TenantCommand):
    """Remove a document: its passages from the index, its row and its part in the statistics, its bytes."""

    document_id: Name

    async def run(self, call: Call) -> dict[str, Any]:
        await call.services.deletion.delete_document(call.caller, self.document_id)
        return {"id": self.document_id, "deleted": True}


@command("delete_documents")
class DeleteDocuments(TenantCommand, DocumentDeletion):
    """Remove all documents that match, as many as the deadline allows. `more` says that there may be more.

    One of `collection`, `filter` and a `user` that is not empty is required, or `all`.
    """

    async def run(self, call: Call) -> dict[str, Any]:
        deleted = await call.services.deletion.delete_documents(call.caller, self, call.deadline_s)
        return DeletedDocuments.model_validate(deleted).as_json()


@command("list_jobs")
class ListJobs(TenantCommand, Paged):
    """The tenant's jobs, the newest first."""

    state: OfState = None

    async def run(self, call: Call) -> dict[str, Any]:
        limit = call.services.limits.resolve_page_size(self.limit)
        page = await call.services.jobs.list(call.caller, self.state, after=self.after, limit=limit)
        return Jobs.model_validate(page).as_json()


@command("list_failures")
class ListFailures(TenantCommand, Paged):
    """The documents of the tenant's jobs that failed, of all jobs or of one: those handed in last come first."""

    after: AfterFailure = ""
    error: OfError = None
    job_id: OfJob = None

    async def run(self, call: Call) -> dict[str, Any]:
        limit = call.services.limits.resolve_page_size(self.limit)
        page = await call.services.jobs.failures(
            call.caller, error=self.error, job_id=self.job_id, after=self.after, limit=limit
        )
        return FailedDocuments.model_validate(page).as_json()


@command("get_job")
class GetJob(TenantCommand):
    """The job's state, counts by state, and each document's state with its error if it has one."""

    needs = "query"

    job_id: Text = Field(max_length=64)

    async def run(self, call: Call) -> dict[str, Any]:
        return job_as_json(await call.services.jobs.get(call.caller, self.job_id))


@command("cancel_job")
class CancelJob(TenantCommand):
    """End a job: what waits is cancelled at once, what is being worked on within seconds. What is indexed stays."""

    job_id: Text = Field(max_length=64)

    async def run(self, call: Call) -> dict[str, Any]:
        return job_as_json(await call.services.jobs.cancel(call.caller, self.job_id))


@command("retry_job")
class RetryJob(TenantCommand):
    """Queue the failed documents of a job again, as they were handed in, in a new job. `left_out` names those that
    cannot be."""

    job_id: Text = Field(max_length=64)

    async def run(self, call: Call) -> dict[str, Any]:
        return RetriedJob.of_retry(await call.services.jobs.retry(call.caller, self.job_id)).as_json()
