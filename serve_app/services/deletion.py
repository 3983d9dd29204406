"""Removal of documents, collections and tenants: from the database first, then from the index and the blob store.

What is deleted in the database is found by no search. Where the index or the blob store does not answer, ingestion
removes the rest later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from deployments.errors import InvalidRequest, Unavailable
from deployments.ingestion.base import RemovedVersion
from deployments.types import DocumentVersion
from serve_app.platform.collections import removable
from serve_app.platform.documents import Documents
from serve_app.platform.job_queue import JobQueue
from serve_app.platform.tenants import Removed, Tenants
from serve_app.schemas.documents import DocumentSelection
from serve_app.services.access import Access
from serve_app.services.documents import DocumentService
from serve_app.services.limits import RequestLimits
from serve_app.services.ports import Passages
from serve_app.storage.blobs import Blobs

_DELETE_BATCH = 50
"""Documents in one transaction that removes them."""
logger = logging.getLogger(__name__)


class DeletedDocuments(NamedTuple):
    """`more`: whether there may be more of the chosen documents."""

    deleted: int
    more: bool


@dataclass(frozen=True, slots=True)
class DeletionService:
    """`settle_s`: how long a worker may still hold a document of a tenant that is being deleted."""

    documents: DocumentService
    store: Documents
    tenants: Tenants
    queue: JobQueue
    blobs: Blobs
    passages: Passages
    limits: RequestLimits
    settle_s: float

    async def delete_document(self, caller: Access, document_id: str) -> None:
        """Raises NotFound."""
        blobs = await self.store.delete(caller.tenant_id, document_id)
        async with _rest_is_removed_later(f"document {document_id!r}"):
            await self.passages.delete(caller.tenant_id, document_id)
            await self._delete_blobs(blobs)

    async def delete_documents(
        self, caller: Access, selection: DocumentSelection, deadline_s: float
    ) -> DeletedDocuments:
        """Remove the selected documents batch by batch, until none is left or `deadline_s` seconds have passed.

        Raises InvalidRequest, UnknownCollection, InvalidFilter.
        """
        if selection.collection is None and selection.user is None and selection.filter is None:
            raise InvalidRequest("name the documents by at least one of collection, user and filter")
        tenant_id = caller.tenant_id
        selected = await self.documents.select(caller, selection)
        max_scanned, end = self.limits.config.max_scanned, time.monotonic() + deadline_s
        deleted, after, complete = 0, "", True
        while True:
            page = await self.store.page(tenant_id, selected, after=after, limit=_DELETE_BATCH, max_scanned=max_scanned)
            if page.rows:
                versions, blobs = await self.store.delete_chosen(
                    tenant_id, selected, [document.id for document in page.rows]
                )
                deleted += len(versions)
                complete = await self._remove(tenant_id, versions, blobs)
            if page.next is None or not complete or time.monotonic() >= end:
                return DeletedDocuments(deleted, page.next is not None)
            after = page.next

    async def delete_collection(self, caller: Access, name: str) -> dict[str, int]:
        """Remove a collection with its documents: how many documents and passages it had.

        Raises UnknownCollection, and InvalidRequest for the default collection.
        """
        name = removable(name)
        removed, blobs = await self.store.delete_collection(caller.tenant_id, name)
        async with _rest_is_removed_later(f"collection {name!r}"):
            await self.passages.purge(caller.tenant_id, collection=name)
            await self._delete_blobs(blobs)
        return removed

    async def delete_tenant(self, tenant_id: str) -> Removed:
        """Remove a tenant and all that belongs to it. Raises NotFound, Unavailable."""
        return await self.tenants.delete(tenant_id, self.passages, self.blobs, settle_s=self.settle_s)

    async def _remove(self, tenant_id: str, versions: Sequence[RemovedVersion], blobs: Sequence[str]) -> bool:
        """Take deleted documents out of the index and the blob store; False where that is left to ingestion."""
        live = [version for version in versions if version.version]
        try:
            await self.passages.delete_versions(
                tenant_id, [DocumentVersion(version.document_id, version.version) for version in live]
            )
            await self._delete_blobs(blobs)
            await self.queue.removed(live)
        except Unavailable as error:
            logger.warning(
                "%d documents are deleted; what is left of them is removed later: %s", len(live), error.message
            )
            return False
        return True

    async def _delete_blobs(self, keys: Iterable[str]) -> None:
        for key in keys:
            await self.blobs.delete(key)


@asynccontextmanager
async def _rest_is_removed_later(subject: str) -> AsyncIterator[None]:
    try:
        yield
    except Unavailable as error:
        logger.warning("%s is deleted; what is left of it is removed later: %s", subject, error.message)
