"""Documents: taken in for indexing, listed, read, and changed. Bytes, rows and passages together."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.errors import (
    BadInput,
    BrokenDocument,
    Conflict,
    InvalidRequest,
    NotFound,
    RateLimited,
    UnsupportedDocument,
)
from deployments.ingestion.parsers import media_types
from deployments.types import DocumentVersion, Passage
from serve_app.outbound.fetched import Fetched
from serve_app.outbound.sources import Sources
from serve_app.platform.collections import Collections
from serve_app.platform.document_ids import AutomaticId, digest
from serve_app.platform.documents import Documents, Selection
from serve_app.platform.jobs import Accepted, Jobs
from serve_app.platform.new_document import NewDocument, Upload
from serve_app.schemas.base import composed
from serve_app.schemas.documents import DocumentFields, DocumentRequest, DocumentSelection
from serve_app.services.access import Access
from serve_app.services.limits import RequestLimits
from serve_app.services.ports import AnnounceJob, Passages
from serve_app.storage.blobs import Blobs
from serve_app.storage.pagination import Page
from serve_app.storage.tables import Document

HEAD_BYTES = 64 * 1024
"""How much of a document is looked at to tell what it is."""
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

    async def read_requests(self, caller: Access, requests: Mapping[str, DocumentRequest]) -> list[Upload]:
        """The bytes of requested documents, all or none; those named by a URI are fetched on the caller's behalf.

        The keys are prefixes of the documents' fields in the request, such as `documents.2.`: errors name fields with
        them. Raises InvalidRequest, DocumentTooLarge, UnsupportedDocument, BrokenDocument, Unreachable.
        """
        for prefix, request in requests.items():
            if request.text is not None and not request.text.strip():
                field = f"{prefix}text"
                raise InvalidRequest(f"{field} is empty; send the document's text", field=field)
            self.limits.check_metadata(request.metadata, field=f"{prefix}metadata")
        uris = {f"{prefix}uri": request.uri for prefix, request in requests.items() if request.uri is not None}
        fetched = await self.sources.fetch(uris, caller.tenant_id)
        return [await _read_request(request, f"{prefix}uri", fetched) for prefix, request in requests.items()]

    async def accept(self, caller: Access, uploads: Sequence[Upload], *, bulk: bool) -> Accepted:
        """Queue documents for indexing, all or none; with `bulk`, in a Ray Job of their own.

        When this returns, bytes and job are durable. What a crash leaves of the bytes is removed later. Raises
        InvalidRequest, QuotaExceeded, RateLimited.
        """
        tenant_id = caller.tenant_id
        keys = [self.blobs.new_key(tenant_id, upload.document.content_hash) for upload in uploads]
        await self.jobs.reserve(tenant_id, {key: len(each.data) for key, each in zip(keys, uploads, strict=True)})
        try:
            for key, upload in zip(keys, uploads, strict=True):
                await self.blobs.write(tenant_id, upload.data, key)
            documents = [each.document.replaced(blob=key) for key, each in zip(keys, uploads, strict=True)]
            job = await self.jobs.accept(tenant_id, documents, bulk=bulk)
        except (BadInput, RateLimited):  # after any other error the job may have been committed
            await self._remove(tenant_id, keys)
            raise
        self.announce_job()
        await self._remove(tenant_id, job.unused_blobs)
        return job

    async def _remove(self, tenant_id: str, keys: Sequence[str]) -> None:
        """Remove bytes that no document has."""
        for key in keys:
            await self.blobs.delete(key)
        await self.jobs.release(tenant_id, keys)

    async def get(self, caller: Access, document_id: str, *, reader: str | None = None) -> Document:
        """`reader`: the user for whom the caller reads it, None for the caller itself. Raises NotFound."""
        return await self.store.get(caller.tenant_id, document_id, reader=reader)

    async def head(self, document: Document) -> bytes:
        """The first bytes of what was handed in, at most HEAD_BYTES. Raises NotFound if they are not stored."""
        try:
            return await self.blobs.read(document.blob, 0, min(document.size, HEAD_BYTES))
        except NotFound:
            raise NotFound(
                f"the bytes of document {document.id[:80]!r} are not stored any more; delete it, and hand it in again"
            ) from None

    def read(self, document: Document, start: int, stop: int) -> AsyncGenerator[bytes]:
        """What was handed in, from byte `start` up to `stop`, piece by piece.

        Pieces raise NotFound once the document is deleted, or a while after it was replaced.
        """
        return self.blobs.read_stream(document.blob, start, stop)

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
        self, caller: Access, document_id: str, *, reader: str | None = None, after: int, limit: int
    ) -> tuple[Sequence[Passage], int | None]:
        """Passages of the live version that follow the position `after`, and the next page's `after`, None for none.

        Raises NotFound.
        """
        document = await self.get(caller, document_id, reader=reader)
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


def new_upload(
    data: bytes, fields: DocumentFields, *, id: str | AutomaticId | None, filename: str = "", media_type: str = ""
) -> Upload:
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


async def _read_request(request: DocumentRequest, uri_field: str, fetched: Mapping[str, Fetched]) -> Upload:
    if request.text is not None:
        return new_upload(request.text.encode(), request, id=request.id, media_type="text/markdown")
    source = fetched[uri_field]
    filename, media_type = request.filename or composed(source.filename), request.media_type or source.media_type
    await check_media_type(source.data, filename, media_type, label=uri_field, field=uri_field)
    document_id = request.id or f"uri-{digest(request.user or '', request.collection, request.uri or '')}"
    return new_upload(source.data, request, id=document_id, filename=filename, media_type=media_type)
