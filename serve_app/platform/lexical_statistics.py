"""Document frequencies of each tenant's owners, and questions weighted by them."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Mapping

import numpy as np
from sqlalchemy import ColumnElement, and_, delete, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from deployments import lexical
from deployments.types import Language, Scope, SparseVector
from serve_app.storage.database import Database, Upsert, chunks
from serve_app.storage.declarative import of_tenant
from serve_app.storage.tables import LexicalTerm, LexicalTotal

_TOTAL = -1
"""Stands beside term ids, which are not negative, for all passages."""
_TOTALS = Upsert.adding(LexicalTotal, ("tenant_id", "owner"), ("passages",))
_TERMS = Upsert.adding(LexicalTerm, ("tenant_id", "owner", "term_id"), ("passages",))


class LexicalStatistics:
    """Implements ports.Lexical: reads the rows of the asker's tenant and of the owners the asker may see, no others."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def query_weights(self, text: str, language: Language, scope: Scope) -> SparseVector:
        ids = await asyncio.to_thread(lexical.query_term_ids, text, language)
        owners = sorted({"", scope.user_id})
        frequencies: dict[int, int] = {}
        # One statement for all questions but those of hundreds of terms: of one moment, and without a transaction.
        for batch in chunks(sorted(set(ids))):
            total = select(literal(_TOTAL), func.sum(LexicalTotal.passages)).where(
                of_tenant(LexicalTotal, scope.tenant_id), LexicalTotal.owner.in_(owners)
            )
            terms = (
                select(LexicalTerm.term_id, func.sum(LexicalTerm.passages))
                .where(
                    of_tenant(LexicalTerm, scope.tenant_id),
                    LexicalTerm.owner.in_(owners),
                    LexicalTerm.term_id.in_(batch),
                )
                .group_by(LexicalTerm.term_id)
            )
            rows = await self.database.rows(union_all(total, terms))
            frequencies.update((term, int(passages or 0)) for term, passages in rows)
        return lexical.encode_query(ids, frequencies, frequencies.pop(_TOTAL, 0))


async def move(session: AsyncSession, tenant_id: str, owner: str, *, passages: int, terms: Mapping[int, int]) -> None:
    """Add to the statistics of a tenant's owner the change in passages and in each term's document frequency.

    The total is written first. On PostgreSQL its row lock puts changes for one owner one after the other, so two
    documents with the same terms cannot deadlock.
    """
    key = {"tenant_id": tenant_id, "owner": owner}
    await _TOTALS.run(session, [{**key, "passages": passages}])
    if changes := sorted(terms.items()):
        await _TERMS.run(session, [{**key, "term_id": term_id, "passages": change} for term_id, change in changes])
    for batch in chunks([term_id for term_id, change in changes if change < 0]):
        await session.execute(
            delete(LexicalTerm).where(
                _owned(LexicalTerm, tenant_id, owner), LexicalTerm.term_id.in_(batch), LexicalTerm.passages <= 0
            )
        )
    if passages <= 0:
        await session.execute(
            delete(LexicalTotal).where(_owned(LexicalTotal, tenant_id, owner), LexicalTotal.passages <= 0)
        )


def difference(new: Mapping[int, int], old: Mapping[int, int]) -> dict[int, int]:
    """What replacing a document's frequencies `old` by `new` changes; terms that stay the same are left out."""
    change = Counter(new)
    change.subtract(old)
    return {term: by for term, by in change.items() if by}


def pack(frequencies: Mapping[int, int]) -> bytes:
    """Term id → document frequency as two little-endian uint32 columns, ids ascending, deflated."""
    ids = sorted(frequencies)
    return zlib.compress(np.array([ids, [frequencies[term] for term in ids]], dtype="<u4").tobytes())


def unpack(packed: bytes) -> dict[int, int]:
    """The inverse of `pack`; empty bytes are no terms."""
    if not packed:
        return {}
    ids, counts = np.frombuffer(zlib.decompress(packed), dtype="<u4").reshape(2, -1).tolist()
    return dict(zip(ids, counts, strict=True))


def _owned(model: type[LexicalTerm | LexicalTotal], tenant_id: str, owner: str) -> ColumnElement[bool]:
    return and_(of_tenant(model, tenant_id), model.owner == owner)
