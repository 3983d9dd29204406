"""The audit log, written by a subscriber: who did what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, get_args

from sqlalchemy import select

from serve_app.platform.events import Event, EventType, SingleEventSubscriber
from serve_app.platform.query_log import QUERY_EVENTS
from serve_app.platform.tenant_settings import lock_existing
from serve_app.storage import pagination
from serve_app.storage.database import Database, insert
from serve_app.storage.declarative import PLATFORM, from_microseconds, of_tenant, to_microseconds
from serve_app.storage.log_tables import MAX_SUBJECT, AuditEntry

_CURSOR: Final = re.compile(r"([0-9]{1,16})\.([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class AuditRecord:
    at: datetime
    actor: str
    role: str
    request_id: str
    action: str
    subject: str
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, the newest first. `next` is the `after` of the page of older ones; None: this is the last page."""

    entries: Sequence[AuditRecord]
    next: str | None


class AuditLog(SingleEventSubscriber):
    """Append-only: nothing here changes or removes an entry but the deletion of its tenant."""

    name = "the audit log"
    # Left out: queries have their own log, and documents that are indexed follow from `job.created`, one entry a job.
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
            "subject": event.subject[:MAX_SUBJECT],
            "details": dict(event.details),
        }
        async with self.database.transaction() as session:
            # Events of a deleted tenant go to the platform's log.
            tenant_id = event.tenant_id if await lock_existing(session, {event.tenant_id}) else PLATFORM
            await session.execute(insert(session, AuditEntry), [{**row, "tenant_id": tenant_id}])

    async def list(self, tenant_id: str, *, after: str = "", limit: int = 100) -> AuditPage:
        """A page of a tenant's entries. Raises InvalidRequest for an `after` that is no page's `next`."""
        row = AuditEntry
        cursor = _Cursor.parse(after) if after else None
        statement = select(row).where(of_tenant(row, tenant_id)).order_by(row.at.desc(), row.sequence.desc())
        if cursor is not None:
            statement = statement.where(row.at <= cursor.at).offset(cursor.seen)
        async with self.database.session() as session:
            entries = [_record(entry) for entry in await session.scalars(statement.limit(limit))]
        return AuditPage(entries, str(_Cursor.behind(entries, cursor)) if len(entries) == limit else None)


@dataclass(frozen=True, slots=True)
class _Cursor:
    """The place behind `seen` entries of the time `at`, and behind all later ones.

    Not the number of an entry: all tenants' entries are numbered together, so it would tell how much others do.
    """

    at: datetime
    seen: int

    @classmethod
    def parse(cls, after: str) -> _Cursor:
        match = pagination.parse_after(_CURSOR, after)
        return cls(from_microseconds(int(match[1])), int(match[2]))

    @classmethod
    def behind(cls, entries: Sequence[AuditRecord], start: _Cursor | None) -> _Cursor:
        """`entries`: those that were read from `start` on, at least one."""
        at = entries[-1].at
        seen = sum(entry.at == at for entry in entries)
        return cls(at, seen + (start.seen if start is not None and start.at == at else 0))

    def __str__(self) -> str:
        return f"{to_microseconds(self.at)}.{self.seen}"


def _record(entry: AuditEntry) -> AuditRecord:
    return AuditRecord(**{field.name: getattr(entry, field.name) for field in fields(AuditRecord)})
