"""Versions of documents that searches must not find although their passages may be in the index.

An index changes passage by passage. A row of `unseen_versions` changes with the transaction that accepts, finishes or
removes a document. A version is in that table

- from its first claim, which names it, until it is live, because its passages are not complete;
- from its replacement until its passages are gone. `due` then lies `retire_after_s` ahead: a search that read the table
  before the replacement may still be running, and must find the old version whole;
- from its failure or deletion until its passages are gone.

Versions are named in the order in which they are begun, so a search can also leave out those that were begun after it
read the table. A search that reads the table once finds each document's old version or its new one: never both, and
never neither. With it, it reads which generation of the index is live (generations.py), and looks in no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from heapq import nlargest
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Subquery, and_, case, cast, delete, func, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import Overloaded
from deployments.ingestion.base import RemovedVersion
from deployments.types import IndexGeneration, VersionRun, VisibleVersions
from serve_app.storage.database import Database, Upsert, chunks, insert
from serve_app.storage.declarative import of_tenant
from serve_app.storage.tables import HiddenVersion, StoredGeneration, VersionCounter

MAX_HIDDEN = 4_000
"""Hidden versions of one tenant. With more, none of its documents is claimed or changed until some are removed, because
its searches have to leave them all out."""
MAX_WITH_DELETED = 6_000
"""Hidden versions of one tenant with which no document of it can be deleted either. An index that works is never that
far behind: a deletion removes passages before it goes on."""
MAX_RUNS: Final = 16
"""Runs of hidden versions that a search leaves out as such: the longest ones. Of the others it names each version. Each
run is a condition of its own, and Milvus refuses an expression of many, as they nest too deep for it."""
RETIRE_AFTER_S = 300.0
"""How long a replaced version's passages stay for the searches that began before it was replaced."""
_HIDDEN: Final = Upsert(
    HiddenVersion, ("tenant_id", "version"), lambda new: {"due": func.coalesce(new.excluded.due, HiddenVersion.due)}
)


class Visibility:
    """Implements ports.Visibility."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def visible_versions(self, tenant_id: str) -> VisibleVersions:
        counter, live, run = VersionCounter, StoredGeneration, _runs(tenant_id)
        is_live = and_(live.tenant_id == counter.tenant_id, live.state == "live")
        # One statement, so that all three are of one moment on every database.
        rows = await self.database.rows(
            select(counter.last, run.c.first, run.c.final, live.name, live.embedder, live.dimension)
            .where(of_tenant(counter, tenant_id))
            .join_from(counter, run, true(), isouter=True)
            .join(live, is_live, isouter=True)
            .order_by(run.c.first)
        )
        if not rows:
            return VisibleVersions(_name(0))
        first = rows[0]
        generation = None if first.name is None else IndexGeneration(first.name, first.embedder, first.dimension)
        hidden = [VersionRun(each.first, each.final) for each in rows if each.first is not None]
        kept = {run for run in nlargest(MAX_RUNS, hidden, key=_length) if run.first != run.last}
        return VisibleVersions(
            _name(first.last),
            tuple(name for run in hidden if run not in kept for name in _names(run)),
            generation,
            tuple(run for run in hidden if run in kept),
        )


def _runs(tenant_id: str) -> Subquery:
    """The first and the final one of each run of a tenant's hidden versions that were begun one after the other.

    The versions of a collection often were. Names of former releases count nothing, and are runs of their own.
    """
    row = HiddenVersion
    number = cast(func.substr(row.version, 2), BigInteger)
    place = number - func.row_number().over(order_by=row.version)
    is_number = row.version.startswith("v")
    numbered = (
        select(row.version, case((is_number, place)).label("place"), case((~is_number, row.version)).label("former"))
        .where(of_tenant(row, tenant_id))
        .subquery()
    )
    version = numbered.c.version
    bounds = select(func.min(version).label("first"), func.max(version).label("final"))
    return bounds.group_by(numbered.c.place, numbered.c.former).subquery()


async def next_versions(session: AsyncSession, counts: Mapping[str, int]) -> dict[str, list[str]]:
    """Names for versions that are about to be written, each larger than all before: so many of each tenant.

    Locks the tenants' counters, so that names become visible in their order. Lock nothing of the tenants' after this.
    """
    if not counts:
        return {}
    rows = [{"tenant_id": tenant_id, "last": counts[tenant_id]} for tenant_id in sorted(counts)]
    counter = insert(session, VersionCounter).values(rows)
    counted = counter.on_conflict_do_update(
        index_elements=["tenant_id"], set_={"last": VersionCounter.last + counter.excluded.last}
    )
    last = await session.execute(counted.returning(VersionCounter.tenant_id, VersionCounter.last))
    return {
        tenant_id: [_name(number) for number in range(int(number_of_last) - counts[tenant_id] + 1, number_of_last + 1)]
        for tenant_id, number_of_last in last
    }


async def hide(session: AsyncSession, rows: Sequence[RemovedVersion], due: datetime | None = None) -> None:
    """Hide versions, until `reveal`, or for good: their passages are removed once `due` has passed."""
    if rows:
        await _HIDDEN.run(
            session,
            [
                {"tenant_id": row.tenant_id, "version": row.version, "document_id": row.document_id, "due": due}
                for row in rows
            ],
        )


async def reveal(session: AsyncSession, tenant_id: str, version: str) -> None:
    await session.execute(delete(HiddenVersion).where(_is(tenant_id, version)))


async def is_full(session: AsyncSession, tenant_id: str) -> bool:
    """Whether the tenant has as many hidden versions as it may."""
    return await _has(session, tenant_id, MAX_HIDDEN)


async def require_room_for_deleted(session: AsyncSession, tenant_id: str) -> None:
    """Raises Overloaded."""
    if await _has(session, tenant_id, MAX_WITH_DELETED):
        raise Overloaded(
            f"{MAX_WITH_DELETED} deleted or replaced documents are still to be removed from the index, which seems not "
            "to answer; try again once it does"
        )


async def _has(session: AsyncSession, tenant_id: str, number: int) -> bool:
    """Whether a tenant has that many hidden versions."""
    first = select(HiddenVersion.version).where(of_tenant(HiddenVersion, tenant_id)).limit(number).subquery()
    return (await session.scalar(select(func.count()).select_from(first)) or 0) >= number


def fills_up(tenant_id: Any) -> ColumnElement[bool]:
    """`is_full` for the tenants of a column, as a column."""
    last = select(HiddenVersion.version).where(HiddenVersion.tenant_id == tenant_id).limit(1).offset(MAX_HIDDEN - 1)
    return last.exists()


async def schedule_removal(session: AsyncSession, tenant_id: str, versions: Sequence[str], due: datetime) -> None:
    """Have the passages of hidden versions removed once `due` has passed."""
    for batch in chunks(versions):
        await session.execute(
            update(HiddenVersion)
            .where(of_tenant(HiddenVersion, tenant_id), HiddenVersion.version.in_(batch))
            .values(due=due)
        )


async def list_removable(session: AsyncSession, now: datetime, limit: int) -> list[RemovedVersion]:
    """Versions whose passages may go, the longest due first."""
    row = HiddenVersion
    due = await session.execute(
        select(row.tenant_id, row.document_id, row.version)
        .where(row.due <= now)
        .order_by(row.due, row.version)
        .limit(limit)
    )
    return [RemovedVersion(*columns) for columns in due]


async def forget(session: AsyncSession, versions: Sequence[RemovedVersion]) -> None:
    """Drop versions whose passages are gone. Idempotent."""
    for version in versions:
        await session.execute(delete(HiddenVersion).where(_is(version.tenant_id, version.version)))


def _name(number: int) -> str:
    """Names of former releases begin with a hexadecimal digit, and so come before all of these."""
    return f"v{number:015d}"


def _number(name: str) -> int:
    return int(name[1:])


def _length(run: VersionRun) -> int:
    return 1 if run.first == run.last else _number(run.last) - _number(run.first) + 1


def _names(run: VersionRun) -> list[str]:
    if run.first == run.last:
        return [run.first]
    return [_name(number) for number in range(_number(run.first), _number(run.last) + 1)]


def _is(tenant_id: str, version: str) -> ColumnElement[bool]:
    return of_tenant(HiddenVersion, tenant_id) & (HiddenVersion.version == version)
