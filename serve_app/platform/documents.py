"""Documents: what may be handed in, which version it makes, and removal."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import InvalidRequest, NotFound, UnknownCollection
from deployments.types import Language
from serve_app.platform import collections, statistics
from serve_app.platform.database import Database
from serve_app.platform.events import Event, Events
from serve_app.platform.models import Collection, Document, JobDocument, of_tenant
from serve_app.platform.tenancy import require_open

MAX_ID = 256
IN_WORK = ("parsing", "embedding")
"""States of a version that a worker is at."""
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to accept, whose bytes are already durable under `blob`.

    `id` None takes one made of owner, file name and content, so that the same file handed in again is the same
    document. `size` in bytes; `owner` empty means the whole tenant; `language` None is detected.
    """

    content_hash: str
    blob: str
    size: int
    id: str | None = None
    owner: str = ""
    collection: str = collections.DEFAULT
    language: Language | None = None
    title: str = ""
    filename: str = ""
    media_type: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def checked(document: NewDocument) -> tuple[str, NewDocument]:
    """A document's id, and the document with its collection's name in composed form. Raises InvalidRequest."""
    for name, value, most in (
        ("owner", document.owner, 256),
        ("title", document.title, 1_000),
        ("filename", document.filename, 1_000),
        ("media_type", document.media_type, 255),
    ):
        if len(value) > most:
            raise InvalidRequest(f"{name}: {len(value)} characters; at most {most} are allowed")
        _check_text(name, value)
    for value in _strings(document.metadata):
        _check_text("metadata", value)
    _canonical(document.metadata)
    document_id = _automatic_id(document) if document.id is None else document.id
    if not 1 <= len(document_id) <= MAX_ID or any(unicodedata.category(c) in ("Cc", "Cs") for c in document_id):
        raise InvalidRequest(f"id {document_id[:80]!a}: use 1 to {MAX_ID} characters, none of them a control character")
    return document_id, replace(document, collection=collections.checked_name(document.collection))


def version_of(document: NewDocument) -> str:
    """The name of a document's version: the same bytes with the same title, collection and so on are the same one."""
    return _digest(
        document.content_hash,
        document.owner,
        document.collection,
        document.language or "",
        document.title,
        document.filename,
        document.media_type,
        _canonical(document.metadata),
    )


class Documents:
    def __init__(self, database: Database, events: Events | None = None) -> None:
        self.database = database
        self.events = events or Events()

    async def delete(self, tenant_id: str, document_id: str) -> list[str]:
        """Forget a document and its part in the statistics. Returns its blobs: the caller deletes them, and removes
        the document's passages from the index.

        Versions still queued are cancelled. One that a worker is at ends with NotFound in `Jobs.finish`. Raises
        NotFound unless the tenant has the document.
        """
        async with self.database.transaction() as session:
            await require_open(session, tenant_id, alone=True)
            document = await session.scalar(
                select(Document).where(of_tenant(Document, tenant_id), Document.id == document_id).with_for_update()
            )
            if document is None:
                raise NotFound(f"document {document_id[:80]!r} does not exist")
            blobs = await _forget(session, tenant_id, [document])
        self.events.publish(Event("document.deleted", tenant_id, document_id))
        return blobs

    async def delete_collection(self, tenant_id: str, name: str) -> tuple[int, list[str]]:
        """Forget a collection with all its documents: how many they were, and their blobs, as in `delete`.

        A version on its way into it, of a document that is live in another one, is given up. Raises
        UnknownCollection, and InvalidRequest for the default one.
        """
        name = collections.removable(name)
        async with self.database.transaction() as session:
            await require_open(session, tenant_id, alone=True)
            this = (of_tenant(Collection, tenant_id), Collection.name == name)
            if await session.scalar(select(Collection.name).where(*this).with_for_update()) is None:
                raise UnknownCollection(f"collection {name[:80]!r} does not exist")
            documents = (
                await session.scalars(
                    select(Document)
                    .where(of_tenant(Document, tenant_id), Document.collection == name)
                    .order_by(Document.id)
                    .with_for_update()
                )
            ).all()
            blobs = await _forget(session, tenant_id, documents)
            await _give_up(session, of_tenant(JobDocument, tenant_id), JobDocument.collection == name)
            await session.execute(delete(Collection).where(*this))
        self.events.publish(Event("collection.deleted", tenant_id, name, {"documents": len(documents)}))
        return len(documents), blobs


async def _forget(session: AsyncSession, tenant_id: str, documents: Sequence[Document]) -> list[str]:
    """Cancel or mark what is on its way of these documents, take them out of the statistics, remove their rows."""
    blobs: set[str] = set()
    for document in documents:
        versions = (of_tenant(JobDocument, tenant_id), JobDocument.document_id == document.id)
        await _give_up(session, *versions)
        if document.version:
            terms = statistics.difference({}, statistics.unpack(document.terms))
            await statistics.move(session, tenant_id, document.owner, passages=-document.passages, terms=terms)
        await session.execute(delete(Document).where(of_tenant(Document, tenant_id), Document.id == document.id))
        blobs |= set(await session.scalars(select(JobDocument.blob).where(*versions).distinct()))
    return sorted(blobs)


async def _give_up(session: AsyncSession, *versions: ColumnElement[bool]) -> None:
    """Cancel the versions that wait, and mark those that a worker is at."""
    await session.execute(update(JobDocument).where(*versions, JobDocument.state == "queued").values(state="cancelled"))
    await session.execute(update(JobDocument).where(*versions, JobDocument.state.in_(IN_WORK)).values(deleted=True))


def _automatic_id(document: NewDocument) -> str:
    return f"doc-{_digest(document.owner, document.filename, document.content_hash)}"


def _digest(*parts: str) -> str:
    """128 bits of the parts' SHA-256, in hexadecimal; no two lists of parts run together."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _canonical(metadata: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(metadata), sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"metadata: not a JSON object ({error})") from error


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(key)
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def _check_text(name: str, value: str) -> None:
    """Databases store neither NUL nor half of a surrogate pair."""
    if _UNSTORABLE.search(value):
        raise InvalidRequest(f"{name}: holds a NUL or an unpaired surrogate; remove it")
