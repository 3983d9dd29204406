"""Documents in and out, as routes and commands do it: bytes, rows and passages together."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from deployments.errors import (
    BadInput,
    BrokenDocument,
    Conflict,
    InvalidRequest,
    Unavailable,
    UnsupportedDocument,
)
from deployments.ingestion.base import RemovedVersion
from deployments.ingestion.parsers import media_types
from deployments.types import DocumentVersion, Passage
from serve_app.outbound.fetched import Fetched
from serve_app.platform.collections import removable
from serve_app.platform.documents import DocumentView, NewDocument, Selection, Upload, digest
from serve_app.platform.jobs import Accepted, JobState, JobSummary
from serve_app.platform.tenants import Removed
from serve_app.schemas.documents import DocumentRequest, DocumentSelection
from serve_app.services import limits as bounds
from serve_app.services.container import Access, Services
from serve_app.storage.pagination import Page

_POLL_S = 0.2
_COPIED_AT_ONCE = 256
"""Passages in one call to the index that copies them."""
_DELETED_AT_ONCE = 50
"""Documents in one transaction that removes them."""
logger = logging.getLogger(__name__)


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
        await asyncio.to_thread(media_types.detect, data, filename, media_type)
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


async def jobs(
    services: Services, caller: Access, state: JobState | None, *, after: str, limit: int
) -> Page[JobSummary]:
    """A page of the tenant's jobs. Raises InvalidRequest for an `after` that no job has."""
    most = services.limits.max_scanned
    return await services.jobs.page(caller.tenant_id, state=state, after=after, limit=limit, max_scanned=most)


async def cancel_job(services: Services, caller: Access, job_id: str) -> dict[str, Any]:
    """The job as it stands after it was ended. Raises NotFound."""
    await services.jobs.cancel(caller.tenant_id, job_id)
    return await services.jobs.view(caller.tenant_id, job_id)


async def job_changes(services: Services, caller: Access, job: JobSummary) -> AsyncGenerator[JobSummary]:
    """A job as it stands, and again whenever it changed, until it is over or `max_job_events_s` have passed. Raises
    NotFound."""
    until = time.monotonic() + services.limits.max_job_events_s
    yield job
    while not job.over and (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(services.limits.job_poll_s, left))
        now = await services.jobs.summary(caller.tenant_id, job.id)
        if now != job:
            job = now
            yield job


async def selection(services: Services, caller: Access, given: DocumentSelection) -> Selection:
    """Raises UnknownCollection, InvalidFilter."""
    condition = bounds.condition(services.limits, given.filter)
    await services.collections.require(caller.tenant_id, filter(None, [given.collection]))
    return Selection(given.collection, given.user, given.live, condition)


async def documents(
    services: Services, caller: Access, given: DocumentSelection, *, after: str, limit: int
) -> Page[DocumentView]:
    """A page of the tenant's documents, its users' private ones too. Raises UnknownCollection, InvalidFilter."""
    chosen = await selection(services, caller, given)
    most = services.limits.max_scanned
    return await services.documents.page(caller.tenant_id, chosen, after=after, limit=limit, max_scanned=most)


async def chunks(
    services: Services, caller: Access, document_id: str, *, after: int, limit: int
) -> tuple[list[Passage], int | None]:
    """Passages of the document's live version that follow the position `after`, and the `after` of the next ones, if
    there are more. Raises NotFound."""
    document = await services.documents.get(caller.tenant_id, document_id)
    if not document.version:
        return [], None
    found = await services.passages.read(caller.tenant_id, document_id, document.version, after=after, limit=limit)
    return found, after + limit if after + limit + 1 < document.passages else None


async def change_metadata(
    services: Services, caller: Access, document_id: str, change: Mapping[str, Any]
) -> DocumentView:
    """Change a live document's metadata by a JSON merge patch, without embedding it again: its passages are written
    once more as a version of their own, which takes the live one's place when all of them are there.

    A version that is on its way meanwhile brings the metadata that it was handed in with. Raises NotFound,
    InvalidRequest, Conflict, Unavailable.
    """
    tenant_id = caller.tenant_id
    work = await services.documents.begin_rewriting(
        tenant_id, document_id, change, lambda metadata: check_metadata(services, metadata)
    )
    if work is None:
        return await services.documents.get(tenant_id, document_id)
    try:
        written = 0
        for after in range(-1, work.passages - 1, _COPIED_AT_ONCE):
            written += await services.passages.copy(tenant_id, work.copy, after=after, limit=_COPIED_AT_ONCE)
        if written != work.passages:
            raise Conflict(f"the index has {written} passages of {work.passages}; look at the document and try again")
        await services.documents.finish_rewriting(tenant_id, work)
    except BadInput:  # nothing of it is on its way any more: it need not wait to be removed
        await services.passages.delete_versions(tenant_id, [DocumentVersion(document_id, work.copy.to)])
        raise
    return await services.documents.get(tenant_id, document_id)


async def delete_document(services: Services, caller: Access, document_id: str) -> None:
    """Remove a document: from now on no search finds it, whatever of it could not be removed at once. Ingestion goes
    on with that."""
    blobs = await services.documents.delete(caller.tenant_id, document_id)
    async with _finished_later(f"document {document_id!r}"):
        await services.passages.delete(caller.tenant_id, document_id)
        await _drop(services, blobs)


async def delete_documents(
    services: Services, caller: Access, given: DocumentSelection, deadline_s: float
) -> dict[str, Any]:
    """Remove all documents that are meant, batch by batch, until none is left or the time is over: how many, and
    whether there may be more. No search finds what was counted. Raises InvalidRequest, UnknownCollection,
    InvalidFilter."""
    if given.collection is None and given.user is None and given.filter is None:
        raise InvalidRequest("name the documents by at least one of collection, user and filter")
    chosen = await selection(services, caller, given)
    most, until = services.limits.max_scanned, time.monotonic() + deadline_s
    deleted, after, whole = 0, "", True
    while True:
        found = await services.documents.page(
            caller.tenant_id, chosen, after=after, limit=_DELETED_AT_ONCE, max_scanned=most
        )
        if found.rows:
            removed, blobs = await services.documents.delete_chosen(
                caller.tenant_id, chosen, [each.id for each in found.rows]
            )
            deleted += len(removed)
            whole = await _remove(services, caller.tenant_id, removed, blobs)
        if found.next is None or not whole or time.monotonic() >= until:
            return {"deleted": deleted, "more": found.next is not None}
        after = found.next


async def _remove(
    services: Services, tenant_id: str, documents: Sequence[RemovedVersion], blobs: Sequence[str]
) -> bool:
    """Take out of index and blob store what is deleted in the database; False where that is left to ingestion."""
    live = [each for each in documents if each.version]
    try:
        await services.passages.delete_versions(
            tenant_id, [DocumentVersion(each.document_id, each.version) for each in live]
        )
        await _drop(services, blobs)
        await services.jobs.removed(live)
    except Unavailable as error:
        logger.warning("%d documents are deleted; what is left of them is removed later: %s", len(live), error.message)
        return False
    return True


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
