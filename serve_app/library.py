"""Documents in and out, as routes and commands do it: bytes, rows and passages together."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from deployments.errors import BadInput, BrokenDocument, InvalidRequest, Unavailable, UnsupportedDocument
from deployments.ingestion.parsers import kinds
from serve_app.outside.fetched import Fetched
from serve_app.platform.collections import removable
from serve_app.platform.documents import NewDocument, digest
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


async def requested(services: Services, given: Mapping[str, DocumentRequest]) -> list[Upload]:
    """Documents as callers describe them, those named by a URI fetched, all or none.

    The keys say where in the request each stands, such as `documents.2.`: errors begin with it. Raises InvalidRequest,
    DocumentTooLarge, UnsupportedDocument, BrokenDocument, Unreachable.
    """
    for place, each in given.items():
        if each.text is not None and not each.text.strip():
            raise InvalidRequest(f"{place}text is empty; send the document's text")
        check_metadata(services, each.metadata, place)
    uris = {f"{place}uri": each.uri for place, each in given.items() if each.uri is not None}
    fetched = await services.sources.fetch(uris)
    return [await _requested(each, f"{place}uri", fetched) for place, each in given.items()]


async def _requested(given: DocumentRequest, field: str, fetched: Mapping[str, Fetched]) -> Upload:
    fields: dict[str, Any] = {
        "owner": given.user or "",
        "collection": given.collection,
        "language": given.language,
        "title": given.title,
        "metadata": given.metadata,
    }
    if given.text is not None:
        return upload(given.text.encode(), id=given.id, media_type="text/markdown", **fields)
    found = fetched[field]
    filename, media_type = given.filename or found.filename, given.media_type or found.media_type
    await check_kind(found.data, filename, media_type, field)
    made = given.id or f"uri-{digest(given.user or '', given.collection, given.uri or '')}"
    return upload(found.data, id=made, filename=filename, media_type=media_type, **fields)


async def check_kind(data: bytes, filename: str, media_type: str, field: str) -> None:
    """Raises UnsupportedDocument, BrokenDocument for what no parser would take."""
    try:
        await asyncio.to_thread(kinds.detect, data, filename, media_type)
    except (BrokenDocument, UnsupportedDocument) as error:
        raise type(error)(f"{field}: {error.message}") from None


def upload(data: bytes, **fields: Any) -> Upload:
    return Upload(data, NewDocument(hashlib.sha256(data).hexdigest(), blob="", size=len(data), **fields))


def check_metadata(services: Services, metadata: dict[str, Any], place: str = "") -> None:
    try:
        size = len(json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError):
        what = "NaN, an infinity, half a surrogate pair"
        raise InvalidRequest(f"{place}metadata: holds what JSON cannot: {what}") from None
    most = services.limits.max_metadata_bytes
    if size > most:
        raise InvalidRequest(f"{place}metadata takes {size} bytes; at most {most} are allowed")


async def accept(services: Services, caller: Access, uploads: Sequence[Upload], *, bulk: bool) -> Accepted:
    """Queue documents for indexing, all or none; with `bulk`, by a Ray Job. When this returns, bytes and job are on
    disk."""
    written: list[NewDocument] = []
    try:
        for each in uploads:
            blob = await services.blobs.write(caller.tenant_id, each.data)
            written.append(replace(each.document, blob=blob.key))
        job = await services.jobs.accept(caller.tenant_id, written, bulk=bulk)
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
