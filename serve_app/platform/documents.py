"""Documents: what may be handed in, which version it makes, and removal."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import InvalidRequest, NotFound, UnknownCollection
from deployments.ingestion.base import RemovedVersion
from deployments.types import Language
from serve_app.platform import collections, statistics, unseen
from serve_app.platform.database import Database
from serve_app.platform.events import Event, Events
from serve_app.platform.models import Collection, Document, JobDocument, of_tenant, utc_now
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


def fingerprint_of(document: NewDocument) -> str:
    """Equal for the same bytes with the same title, collection and so on: then there is nothing to index."""
    return digest(
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
    def __init__(
        self, database: Database, events: Events | None = None, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.database = database
        self.events = events or Events()
        self.clock = clock

    async def delete(self, tenant_id: str, document_id: str) -> list[str]:
        """Forget a document and its part in the statistics; no search that begins later finds it. Returns its blobs:
        the caller deletes them, and removes the document's passages from the index.

        Versions still queued are cancelled. One that a worker is at ends with GivenUp. Raises NotFound unless the
        tenant has the document.
        """
        async with self.database.transaction() as session:
            await require_open(session, tenant_id, alone=True)
            document = await session.scalar(
                select(Document).where(of_tenant(Document, tenant_id), Document.id == document_id).with_for_update()
            )
            if document is None:
                raise NotFound(f"document {document_id[:80]!r} does not exist")
            blobs = await _forget(session, tenant_id, [document], self.clock())
        self.events.publish(Event("document.deleted", tenant_id, document_id))
        return blobs

    async def delete_collection(self, tenant_id: str, name: str) -> tuple[dict[str, int], list[str]]:
        """Forget a collection with all its documents: how many they and their passages were, and their blobs, as in
        `delete`.

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
            now = self.clock()
            blobs = await _forget(session, tenant_id, documents, now)
            await give_up(session, of_tenant(JobDocument, tenant_id), JobDocument.collection == name, due=now)
            await session.execute(delete(Collection).where(*this))
        self.events.publish(Event("collection.deleted", tenant_id, name, {"documents": len(documents)}))
        return {"documents": len(documents), "passages": sum(each.passages for each in documents)}, blobs


async def _forget(session: AsyncSession, tenant_id: str, documents: Sequence[Document], now: datetime) -> list[str]:
    """Cancel or mark what is on its way of these documents, hide them, take them out of the statistics, remove their
    rows."""
    blobs: set[str] = set()
    for document in documents:
        versions = (of_tenant(JobDocument, tenant_id), JobDocument.document_id == document.id)
        await give_up(session, *versions, due=now)
        if document.version:
            live = RemovedVersion(tenant_id, document.id, document.version, document.blob)
            await unseen.hide(session, [live], due=now)
            terms = statistics.difference({}, statistics.unpack(document.terms))
            await statistics.move(session, tenant_id, document.owner, passages=-document.passages, terms=terms)
        await session.execute(delete(Document).where(of_tenant(Document, tenant_id), Document.id == document.id))
        blobs |= set(await session.scalars(select(JobDocument.blob).where(*versions).distinct()))
    return sorted(blobs)


async def give_up(session: AsyncSession, *versions: ColumnElement[bool], due: datetime) -> None:
    """Cancel one tenant's versions that wait, and mark those that a worker is at. What was written of the former may
    be removed once `due` has passed."""
    cancelled = await session.execute(
        update(JobDocument)
        .where(*versions, JobDocument.state == "queued")
        .values(state="cancelled")
        .returning(JobDocument.tenant_id, JobDocument.version)
    )
    rows = cancelled.all()
    for tenant_id in {each.tenant_id for each in rows}:
        await unseen.give_up(session, tenant_id, [each.version for each in rows], due)
    await session.execute(update(JobDocument).where(*versions, JobDocument.state.in_(IN_WORK)).values(given_up=True))


def _automatic_id(document: NewDocument) -> str:
    return f"doc-{digest(document.owner, document.filename, document.content_hash)}"


def digest(*parts: str) -> str:
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
