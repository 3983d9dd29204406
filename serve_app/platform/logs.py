"""The audit log (who did what) and the query log (what answers took), written by subscribers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from serve_app.platform.database import Database, insert
from serve_app.platform.events import Event, EventType
from serve_app.platform.models import PLATFORM, AuditEntry, QueryLogEntry, Tenant, of_tenant

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


class AuditLog:
    """Append-only: nothing here changes or removes an entry but the deletion of its tenant."""

    name = "the audit log"
    types = frozenset(get_args(EventType)) - _QUERIES - {"document.indexed"}

    def __init__(self, database: Database) -> None:
        self.database = database

    async def handle(self, event: Event) -> None:
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
            tenant_id = event.tenant_id if await _stays(session, event.tenant_id) else PLATFORM
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
    name = "the query log"
    types = _QUERIES

    def __init__(self, database: Database) -> None:
        self.database = database

    async def handle(self, event: Event) -> None:
        outcome = QueryOutcome(**event.details)
        row = {**asdict(outcome), "tenant_id": event.tenant_id, "query_id": event.subject, "at": event.at}
        row["user_id"] = row.pop("user")
        async with self.database.transaction() as session:
            # A query may end after its tenant was deleted.
            if await _stays(session, event.tenant_id):
                await session.execute(insert(session, QueryLogEntry).on_conflict_do_nothing(), [row])


async def _stays(session: AsyncSession, tenant_id: str) -> bool:
    """Whether a tenant is there, and until the transaction ends it is not removed."""
    lock = select(Tenant.id).where(Tenant.id == tenant_id).with_for_update(read=True, key_share=True)
    return await session.scalar(lock) is not None


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
