"""The audit log, written by a subscriber: who did what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import select

from serve_app.platform.events import Event, EventType, SingleEventSubscriber
from serve_app.platform.query_log import QUERY_EVENTS
from serve_app.platform.tenant_settings import lock_existing
from serve_app.storage.database import Database, insert
from serve_app.storage.tables import PLATFORM, AuditEntry, of_tenant


@dataclass(frozen=True, slots=True)
class AuditRecord:
    at: datetime
    actor: str
    role: str
    request_id: str
    action: str
    subject: str
    details: dict[str, Any]


class AuditLog(SingleEventSubscriber):
    """Append-only: nothing here changes or removes an entry but the deletion of its tenant."""

    name = "the audit log"
    types = frozenset(get_args(EventType)) - QUERY_EVENTS - {"document.indexed"}

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
            tenant_id = event.tenant_id if await lock_existing(session, {event.tenant_id}) else PLATFORM
            await session.execute(insert(session, AuditEntry), [{**row, "tenant_id": tenant_id}])

    async def list(self, tenant_id: str, *, limit: int = 100) -> Sequence[AuditRecord]:
        """A tenant's last entries, the newest first."""
        row = AuditEntry
        async with self.database.session() as session:
            entries = await session.scalars(
                select(row).where(of_tenant(row, tenant_id)).order_by(row.sequence.desc()).limit(limit)
            )
            return [_record(entry) for entry in entries]


def _record(entry: AuditEntry) -> AuditRecord:
    return AuditRecord(**{field.name: getattr(entry, field.name) for field in fields(AuditRecord)})
