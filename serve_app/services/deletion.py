"""Deletes documents, collections and tenants: first in the database, then in the index and the blob store.

No search finds a document that is deleted in the database. If the index or the blob store does not answer, the
ingestion stage removes the passages and the bytes later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from deployments.errors import Unavailable
from deployments.ingestion.base import RemovedBlob, RemovedVersion
from deployments.types import DocumentVersion
from serve_app.platform.collections import check_deletable
from serve_app.platform.documents import DeletedVersions, Documents
from serve_app.platform.job_queue import JobQueue
from serve_app.platform.keys import Keys
from serve_app.platform.tenants import Removed, Tenants
from serve_app.schemas.documents import DocumentDeletion
from serve_app.services.access import Access
from serve_app.services.documents import DocumentService
from serve_app.services.limits import RequestLimits
from serve_app.services.ports import Passages
from serve_app.storage.blobs import Blobs

_DELETE_BATCH = 50
"""The largest number of selected documents that one transaction deletes."""
_MAX_NOT_REMOVED: Final = 1_000
"""Documents of a collection that are deleted in SQL while the index does not answer. Each search names them all."""
logger = logging.getLogger(__name__)


class DeletedDocuments(NamedTuple):
    """How far a deletion of selected documents has come."""

    deleted: int
    """The number of documents that this call deleted."""
    more: bool
    """Whether selected documents may remain. The client then sends the request again."""


@dataclass(frozen=True, slots=True)
class DeletionService:
    """Deletes what a tenant owns, and tenants."""

    document_service: DocumentService
    """Turns a request's selection of documents into a condition."""
    documents: Documents
    """The documents' rows in the database."""
    tenants: Tenants
    keys: Keys
    queue: JobQueue
    blobs: Blobs
    """The documents' bytes."""
    passages: Passages
    """The documents' passages in the index."""
    limits: RequestLimits
    settle_s: float
    """Seconds to wait, when a tenant is deleted, until workers have stopped indexing its documents."""

    async def delete_document(self, caller: Access, document_id: str) -> None:
        """Delete a document with its passages and bytes. Raises NotFound if the tenant does not have it, Overloaded."""
        deleted = await self.documents.delete(caller.tenant_id, document_id)
        async with _log_incomplete_removal(f"document {document_id!r}"):
            await self.passages.delete(caller.tenant_id, document_id)
            await self._delete_blobs(caller.tenant_id, deleted)

    async def delete_documents(
        self, caller: Access, selection: DocumentDeletion, deadline_s: float
    ) -> DeletedDocuments:
        """Delete the selected documents in batches.

        It stops after the last document, or when `deadline_s` seconds have passed, or when a batch's passages and bytes
        cannot be removed at once. Raises InvalidRequest, UnknownCollection, InvalidFilter, Overloaded.
        """
        tenant_id = caller.tenant_id
        selected = await self.document_service.select(caller, selection)
        max_scanned, end = self.limits.config.max_scanned, time.monotonic() + deadline_s
        deleted, after = 0, ""
        while True:
            page = await self.documents.page(
                tenant_id, selected, after=after, limit=_DELETE_BATCH, max_scanned=max_scanned
            )
            is_removed = True
            if page.rows:
                batch = await self.documents.delete_chosen(tenant_id, selected, [document.id for document in page.rows])
                deleted += len(batch.versions)
                is_removed = await self._remove_passages_and_blobs(tenant_id, batch)
            if page.next is None:
                return DeletedDocuments(deleted, more=False)
            if not is_removed or time.monotonic() >= end:
                return DeletedDocuments(deleted, more=True)
            after = page.next

    async def delete_collection(self, caller: Access, name: str) -> dict[str, int]:
        """Delete a collection with its documents. Returns how many `documents` and `passages` it had.

        If it is cut off, the same call goes on where it stopped. Raises UnknownCollection, Conflict for the
        default collection, Overloaded, and Unavailable if the index or the blob store does not answer for many
        documents.
        """
        check_deletable(name)
        documents = passages = not_removed = 0
        async with aclosing(self.documents.delete_collection(caller.tenant_id, name)) as batches:
            async for batch in batches:
                documents, passages = documents + len(batch.versions), passages + batch.passages
                if not await self._remove_passages_and_blobs(caller.tenant_id, batch):
                    not_removed += len(batch.versions)
                if not_removed > _MAX_NOT_REMOVED:
                    raise Unavailable(
                        f"collection {name!r}: {documents} documents are deleted, but the index or the blob store does "
                        "not answer; delete the collection again to go on"
                    )
        async with _log_incomplete_removal(f"collection {name!r}"):
            await self.passages.purge(caller.tenant_id, collection=name)
        return {"documents": documents, "passages": passages}

    async def delete_tenant(self, tenant_id: str) -> Removed:
        """Delete a tenant and all that belongs to it.

        Raises NotFound, and Unavailable if workers have not stopped in time or a store does not answer. The tenant then
        accepts nothing new, and the same call continues the deletion.
        """
        removed = await self.tenants.delete(tenant_id, self.passages, self.blobs, settle_s=self.settle_s)
        self.keys.forget_tenant(tenant_id)
        return removed

    async def _remove_passages_and_blobs(self, tenant_id: str, deleted: DeletedVersions) -> bool:
        """Remove deleted documents from the index and the blob store.

        Returns False if one of them does not answer. The ingestion stage then removes them later.
        """
        live_versions = _live(deleted)
        try:
            if live_versions:
                await self.passages.delete_versions(
                    tenant_id, [DocumentVersion(version.document_id, version.version) for version in live_versions]
                )
            await self._delete_blobs(tenant_id, deleted)
        except Unavailable as error:
            logger.warning(
                "%d documents are deleted; their remaining passages and bytes are removed later: %s",
                len(live_versions),
                error.message,
            )
            return False
        return True

    async def _delete_blobs(self, tenant_id: str, deleted: DeletedVersions) -> None:
        """Delete the bytes of documents whose passages are gone. Then no search needs to leave them out."""
        removed = [RemovedBlob(tenant_id, key) for key in deleted.blobs]
        for blob in removed:
            await self.blobs.delete(blob.key)
        await self.queue.forget_removed(_live(deleted), removed)


def _live(deleted: DeletedVersions) -> list[RemovedVersion]:
    """The versions that were live; a document without one has nothing in the index that is known here."""
    return [version for version in deleted.versions if version.version]


@asynccontextmanager
async def _log_incomplete_removal(subject: str) -> AsyncIterator[None]:
    """Log it if the index or the blob store does not answer. The ingestion stage then removes the rest later."""
    try:
        yield
    except Unavailable as error:
        logger.warning("%s is deleted; its remaining passages and bytes are removed later: %s", subject, error.message)
