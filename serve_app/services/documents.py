"""Documents: taken in for indexing, listed, read, and changed. Bytes, rows and passages together."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.errors import BadInput, BrokenDocument, Conflict, InvalidRequest, UnsupportedDocument
from deployments.ingestion.parsers import media_types
from deployments.types import DocumentVersion, Passage
from serve_app.outbound.fetched import Fetched
from serve_app.outbound.sources import Sources
from serve_app.platform.collections import Collections
from serve_app.platform.documents import Documents, Selection
from serve_app.platform.jobs import Accepted, Jobs
from serve_app.platform.new_document import NewDocument, Upload, digest
from serve_app.schemas.documents import DocumentFields, DocumentRequest, DocumentSelection
from serve_app.services.access import Access
from serve_app.services.limits import RequestLimits
from serve_app.services.ports import AnnounceJob, Passages
from serve_app.storage.blobs import Blobs
from serve_app.storage.pagination import Page
from serve_app.storage.tables import Document

_COPY_BATCH = 256
"""Passages in one call to the index that copies them."""


@dataclass(frozen=True, slots=True)
class DocumentService:
    store: Documents
    jobs: Jobs
    collections: Collections
    blobs: Blobs
    passages: Passages
    sources: Sources
    limits: RequestLimits
    announce_job: AnnounceJob

    async def uploads(self, requests: Mapping[str, DocumentRequest]) -> list[Upload]:
        """The bytes of requested documents, all or none; those named by a URI are fetched.

        The keys are prefixes of the documents' fields in the request, such as `documents.2.`: errors name fields with
        them. Raises InvalidRequest, DocumentTooLarge, UnsupportedDocument, BrokenDocument, Unreachable.
        """
        for prefix, request in requests.items():
            if request.text is not None and not request.text.strip():
                field = f"{prefix}text"
                raise InvalidRequest(f"{field} is empty; send the document's text", field=field)
            self.limits.check_metadata(request.metadata, field=f"{prefix}metadata")
        uris = {f"{prefix}uri": request.uri for prefix, request in requests.items() if request.uri is not None}
        fetched = await self.sources.fetch(uris)
        return [await _upload(request, f"{prefix}uri", fetched) for prefix, request in requests.items()]

    async def accept(self, caller: Access, uploads: Sequence[Upload], *, bulk: bool) -> Accepted:
        """Queue documents for indexing, all or none; with `bulk`, in a Ray Job of their own.

        When this returns, bytes and job are durable. Raises InvalidRequest, QuotaExceeded.
        """
        documents: list[NewDocument] = []
        try:
            for upload in uploads:
                blob = await self.blobs.write(caller.tenant_id, upload.data)
                documents.append(upload.document.replaced(blob=blob.key))
            job = await self.jobs.accept(caller.tenant_id, documents, bulk=bulk)
        except BadInput:  # after any other error the job may have been committed
            for document in documents:
                await self.blobs.delete(document.blob)
            raise
        self.announce_job()
        for blob_key in job.unused_blobs:
            await self.blobs.delete(blob_key)
        return job

    async def get(self, caller: Access, document_id: str) -> Document:
        """Raises NotFound."""
        return await self.store.get(caller.tenant_id, document_id)

    async def list(self, caller: Access, selection: DocumentSelection, *, after: str, limit: int) -> Page[Document]:
        """A page of the tenant's documents, its users' private ones too. Raises UnknownCollection, InvalidFilter."""
        return await self.store.page(
            caller.tenant_id,
            await self.select(caller, selection),
            after=after,
            limit=limit,
            max_scanned=self.limits.config.max_scanned,
        )

    async def select(self, caller: Access, selection: DocumentSelection) -> Selection:
        """Raises UnknownCollection, InvalidFilter."""
        condition = self.limits.parse_filter(selection.filter)
        await self.collections.require(caller.tenant_id, filter(None, [selection.collection]))
        return Selection(selection.collection, selection.user, selection.live, condition)

    async def chunks(
        self, caller: Access, document_id: str, *, after: int, limit: int
    ) -> tuple[Sequence[Passage], int | None]:
        """Passages of the live version that follow the position `after`, and the next page's `after`, None for none.

        Raises NotFound.
        """
        document = await self.store.get(caller.tenant_id, document_id)
        if not document.version:
            return [], None
        live = await self.store.live_generation(caller.tenant_id)
        found = await self.passages.read(
            caller.tenant_id, document_id, document.version, generation=live, after=after, limit=limit
        )
        return found, after + limit if after + limit + 1 < document.passages else None

    async def change_metadata(self, caller: Access, document_id: str, patch: Mapping[str, Any]) -> Document:
        """Change a live document's metadata by a JSON merge patch. Nothing is embedded again.

        The passages are copied to a version of their own, which takes the live one's place once it is complete. A
        version that is on its way meanwhile brings the metadata that it was handed in with. Raises NotFound,
        InvalidRequest, Conflict, Unavailable.
        """
        tenant_id = caller.tenant_id
        rewriting = await self.store.begin_rewriting(tenant_id, document_id, patch, self.limits.check_metadata)
        if rewriting is None:
            return await self.store.get(tenant_id, document_id)
        try:
            written = 0
            for after in range(-1, rewriting.passages - 1, _COPY_BATCH):
                written += await self.passages.copy(
                    tenant_id, rewriting.copy, generation=rewriting.generation, after=after, limit=_COPY_BATCH
                )
            if written != rewriting.passages:
                raise Conflict(
                    f"the index has {written} passages of {rewriting.passages}; look at the document and try again"
                )
            await self.store.finish_rewriting(tenant_id, rewriting)
        except BadInput:  # nothing of the new version is on its way any more: it need not wait to be removed
            await self.passages.delete_versions(tenant_id, [DocumentVersion(document_id, rewriting.copy.to)])
            raise
        return await self.store.get(tenant_id, document_id)


def upload(data: bytes, fields: DocumentFields, *, id: str | None, filename: str = "", media_type: str = "") -> Upload:
    document = NewDocument(
        content_hash=hashlib.sha256(data).hexdigest(),
        blob="",
        size=len(data),
        id=id,
        filename=filename,
        media_type=media_type,
        **fields.columns(),
    )
    return Upload(data, document)


async def check_media_type(data: bytes, filename: str, media_type: str, *, label: str, field: str) -> None:
    """That some parser takes it. Raises UnsupportedDocument, BrokenDocument; their messages begin with `label`."""
    try:
        await asyncio.to_thread(media_types.detect, data, filename, media_type)
    except (BrokenDocument, UnsupportedDocument) as error:
        raise type(error)(f"{label}: {error.message}", field=field) from None


async def _upload(request: DocumentRequest, uri_field: str, fetched: Mapping[str, Fetched]) -> Upload:
    if request.text is not None:
        return upload(request.text.encode(), request, id=request.id, media_type="text/markdown")
    source = fetched[uri_field]
    filename, media_type = request.filename or source.filename, request.media_type or source.media_type
    await check_media_type(source.data, filename, media_type, label=uri_field, field=uri_field)
    document_id = request.id or f"uri-{digest(request.user or '', request.collection, request.uri or '')}"
    return upload(source.data, request, id=document_id, filename=filename, media_type=media_type)
