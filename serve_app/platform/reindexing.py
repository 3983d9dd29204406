"""Which documents were made by another embedder, or cut otherwise, than they would be now."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, func, select

from deployments.ingestion.base import ChunkSizes, chunking
from serve_app.storage.database import Database
from serve_app.storage.tables import Collection, Document, of_tenant


@dataclass(frozen=True, slots=True)
class DocumentCounts:
    """A tenant's documents that searches find, and their passages.

    `behind`: those of them whose passages were made by another embedder, or cut otherwise, than they would be now.
    """

    documents: int
    passages: int
    behind: int


class Reindexing:
    """`default_sizes`: how documents are cut whose collection does not say otherwise."""

    def __init__(self, database: Database, default_sizes: ChunkSizes) -> None:
        self.database = database
        self.default_sizes = default_sizes

    async def count(self, tenant_id: str, embedder: str) -> DocumentCounts:
        """`embedder`: the fingerprint of the one that runs."""
        document, collection = Document, Collection
        sizes = (collection.chunk_tokens, collection.chunk_overlap)
        how = (document.embedder, document.chunking, *sizes)
        of_collection = and_(collection.tenant_id == document.tenant_id, collection.name == document.collection)
        rows = await self.database.rows(
            select(*how, func.count().label("documents"), func.sum(document.passages).label("passages"))
            .join_from(document, collection, of_collection)
            .where(of_tenant(document, tenant_id), document.version != "")
            .group_by(*how)
        )
        documents = passages = behind = 0
        for row in rows:
            documents += row.documents
            passages += int(row.passages)
            now = chunking(ChunkSizes(row.chunk_tokens, row.chunk_overlap), self.default_sizes)
            # Documents of a former release do not know how they were cut.
            if row.embedder != embedder or row.chunking not in ("", now):
                behind += row.documents
        return DocumentCounts(documents, passages, behind)
