"""The audit log (who did what) and the query log (what answers took), written by subscribers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from serve_app.platform.events import Event, EventType, One
from serve_app.storage.database import Database, insert
from serve_app.storage.tables import PLATFORM, AuditEntry, QueryLogEntry, Tenant, of_tenant

_QUERIES = frozenset({"query.completed", "query.failed", "query.cancelled"})


@dataclass(frozen=True, slots=True)
class AuditRecord:
    at: datetime
    actor: str
    role: str
    request_id: str
    action: str
    subject: str
    details: dict[str, Any]


class AuditLog(One):
    """Append-only: nothing here changes or removes an entry but the deletion of its tenant."""

    name = "the audit log"
    types = frozenset(get_args(EventType)) - _QUERIES - {"document.indexed"}

    def __init__(self, database: Database) -> None:
        self.database = database

    async def handle(self, events: Sequence[Event]) -> None:
        [event] = events
        row = {
            "at": event.at,
            "actor": event.actor.id,
            "role": event.actor.role,
            "request_id": event.actor.request_id,
            "action": event.type,
            "subject": event.subject[:256],
            "details": dict(event.details),
        }
        async with self.database.transaction() as session:
            # What is told of a tenant that is gone belongs to the platform.
            tenant_id = event.tenant_id if await _staying(session, {event.tenant_id}) else PLATFORM
            await session.execute(insert(session, AuditEntry), [{**row, "tenant_id": tenant_id}])

    async def list(self, tenant_id: str, *, limit: int = 100) -> Sequence[AuditRecord]:
        """A tenant's last entries, the newest first."""
        row = AuditEntry
        async with self.database.session() as session:
            found = await session.scalars(
                select(row).where(of_tenant(row, tenant_id)).order_by(row.sequence.desc()).limit(limit)
            )
            return [AuditRecord(e.at, e.actor, e.role, e.request_id, e.action, e.subject, e.details) for e in found]


class QueryLog:
    """What was asked in a fifth of a second is written in one transaction: that is most of what a row costs."""

    name = "the query log"
    types = _QUERIES
    most = 256
    pause_s = 0.2

    def __init__(self, database: Database) -> None:
        self.database = database

    async def handle(self, events: Sequence[Event]) -> None:
        async with self.database.transaction() as session:
            # A query may end after its tenant was deleted.
            staying = await _staying(session, {event.tenant_id for event in events})
            if rows := [_row(event) for event in events if event.tenant_id in staying]:
                await session.execute(insert(session, QueryLogEntry).on_conflict_do_nothing(), rows)


def _row(event: Event) -> dict[str, Any]:
    row = {
        **asdict(QueryOutcome(**event.details)),
        "tenant_id": event.tenant_id,
        "query_id": event.subject,
        "at": event.at,
    }
    return {"user_id": row.pop("user"), **row}


async def _staying(session: AsyncSession, tenant_ids: Collection[str]) -> set[str]:
    """Which tenants are there, and until the transaction ends are not removed."""
    found = select(Tenant.id).where(Tenant.id.in_(tenant_ids)).order_by(Tenant.id)
    return {*await session.scalars(found.with_for_update(read=True, key_share=True))}


@dataclass(frozen=True, slots=True)
class QueryOutcome:
    """The details of a query's event. `outcome` is its finish reason or its error's code; timings in ms."""

    user: str
    language: str
    outcome: str
    engine: str | None
    sources: int
    prompt_tokens: int
    completion_tokens: int
    timings: dict[str, float]
