"""Documents in and out, as routes and commands do it: bytes, rows and passages together."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from deployments.errors import BadInput, InvalidRequest, Unavailable
from serve_app.platform.collections import removable
from serve_app.platform.documents import NewDocument
from serve_app.platform.jobs import Accepted
from serve_app.platform.tenants import Removed
from serve_app.schemas import DocumentRequest
from serve_app.services import Access, Services

_POLL_S = 0.2
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """A document's bytes, and all that is to be kept of it but where they lie."""

    data: bytes
    document: NewDocument


def text_document(services: Services, given: DocumentRequest) -> Upload:
    """Raises InvalidRequest."""
    if not given.text.strip():
        raise InvalidRequest("text is empty; send the document's text")
    check_metadata(services, given.metadata)
    return upload(
        given.text.encode(),
        id=given.id,
        owner=given.user or "",
        collection=given.collection,
        language=given.language,
        title=given.title,
        media_type="text/markdown",
        metadata=given.metadata,
    )


def upload(data: bytes, **fields: Any) -> Upload:
    return Upload(data, NewDocument(hashlib.sha256(data).hexdigest(), blob="", size=len(data), **fields))


def check_metadata(services: Services, metadata: dict[str, Any]) -> None:
    try:
        size = len(json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError):
        raise InvalidRequest("metadata: holds what JSON cannot: NaN, an infinity, half a surrogate pair") from None
    if size > services.limits.max_metadata_bytes:
        raise InvalidRequest(f"metadata takes {size} bytes; at most {services.limits.max_metadata_bytes} are allowed")


async def accept(services: Services, caller: Access, uploads: Sequence[Upload]) -> Accepted:
    """Queue documents for indexing, all or none. When this returns, bytes and job are on disk."""
    written: list[NewDocument] = []
    try:
        for each in uploads:
            blob = await services.blobs.write(caller.tenant_id, each.data)
            written.append(replace(each.document, blob=blob.key))
        job = await services.jobs.accept(caller.tenant_id, written)
    except BadInput:  # after any other error it may have been committed
        await _drop(services, [document.blob for document in written])
        raise
    services.announce()
    await _drop(services, job.unused_blobs)
    return job


async def settled(services: Services, caller: Access, job_id: str, within_s: float) -> dict[str, Any]:
    """The job once all its documents are done with, or as it stands after `within_s` seconds. Raises NotFound."""
    until = time.monotonic() + within_s
    while True:
        job = await services.jobs.view(caller.tenant_id, job_id)
        left = until - time.monotonic()
        if job["state"] not in ("queued", "running") or left <= 0:
            return job
        await asyncio.sleep(min(_POLL_S, left))  # the worker that ends it may be on another node


async def delete_document(services: Services, caller: Access, document_id: str) -> None:
    """Remove a document: from now on no search finds it, whatever of it could not be removed at once. Ingestion goes
    on with that."""
    blobs = await services.documents.delete(caller.tenant_id, document_id)
    async with _finished_later(f"document {document_id!r}"):
        await services.passages.delete(caller.tenant_id, document_id)
        await _drop(services, blobs)


async def delete_collection(services: Services, caller: Access, name: str) -> dict[str, int]:
    """Remove a collection with its documents; how much that was. Raises UnknownCollection, InvalidRequest."""
    name = removable(name)
    removed, blobs = await services.documents.delete_collection(caller.tenant_id, name)
    async with _finished_later(f"collection {name!r}"):
        await services.passages.purge(caller.tenant_id, collection=name)
        await _drop(services, blobs)
    return removed


async def delete_tenant(services: Services, tenant_id: str) -> Removed:
    """Remove a tenant and all that belongs to it."""
    return await services.tenants.delete(tenant_id, services.passages, services.blobs, settle_s=services.settle_s)


@asynccontextmanager
async def _finished_later(what: str) -> AsyncIterator[None]:
    """What is deleted in the database is deleted; where index or blobs do not answer, ingestion removes the rest."""
    try:
        yield
    except Unavailable as error:
        logger.warning("%s is deleted; what is left of it is removed later: %s", what, error.message)


async def _drop(services: Services, blobs: Iterable[str]) -> None:
    """Bytes that no document came to need."""
    for blob in blobs:
        await services.blobs.delete(blob)
