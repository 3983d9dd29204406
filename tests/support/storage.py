"""What tests of the platform's storage share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from deployments.ingestion.base import IndexedDocument
from serve_app.platform.documents import Documents
from serve_app.platform.new_document import NewDocument
from serve_app.storage.database import Database


@dataclass
class Clock:
    """Time that passes only when a test says so."""

    now: datetime = datetime(2026, 1, 31, 12, tzinfo=UTC)
    elapsed_s: float = 0.0

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.elapsed_s

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.elapsed_s += seconds

    def set_back(self, seconds: float) -> None:
        self.now -= timedelta(seconds=seconds)


def document(id: str | None = None, content: str = "text", **fields: Any) -> NewDocument:
    digest = hashlib.sha256(content.encode()).hexdigest()
    fields = {"blob": f"blob of {content}"[:100], **fields}
    return NewDocument(id=id, content_hash=digest, size=len(content.encode()), **fields)


def indexed(
    frequencies: Mapping[int, int], passages: int = 1, title: str = "Naslov", *, embedder: str = "", chunking: str = ""
) -> IndexedDocument:
    return IndexedDocument(title, "hr", passages, frequencies, embedder, chunking)


async def delete_collection(documents: Documents, tenant_id: str, name: str) -> tuple[dict[str, int], list[str]]:
    """Delete a collection: how many documents and passages it had, and its blobs."""
    counts: dict[str, int] = {"documents": 0, "passages": 0}
    blobs: list[str] = []
    async for batch in documents.delete_collection(tenant_id, name):
        counts["documents"] += len(batch.versions)
        counts["passages"] += batch.passages
        blobs += batch.blobs
    return counts, sorted(blobs)


class EmptyIndex:
    """One in which no tenant has passages."""

    async def purge(self, tenant_id: str, *, collection: str = "") -> int:
        return 0


_migrated: list[bytes] = []


async def migrate(database: Database) -> None:
    """`Database.migrate` for a new SQLite file, run once a session: what it makes is copied from then on."""
    path = database.config.path
    if _migrated:
        path.write_bytes(_migrated[0])
        return
    await database.migrate()
    _migrated.append(path.read_bytes())
