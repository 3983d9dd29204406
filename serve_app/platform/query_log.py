"""The query log, written by a subscriber: what answers took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from serve_app.platform.events import Event
from serve_app.platform.tenant_settings import lock_existing
from serve_app.storage.database import Database, insert
from serve_app.storage.tables import QueryLogEntry

QUERY_EVENTS = frozenset({"query.completed", "query.failed", "query.cancelled"})


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


class QueryLog:
    """Writes all queries of 0.2 s in one transaction, because the transaction costs more than the rows."""

    name = "the query log"
    types = QUERY_EVENTS
    batch_size = 256
    pause_s = 0.2

    def __init__(self, database: Database) -> None:
        self.database = database

    async def handle(self, events: Sequence[Event]) -> None:
        async with self.database.transaction() as session:
            # A query may end after its tenant was deleted.
            existing = await lock_existing(session, {event.tenant_id for event in events})
            if rows := [_row(event) for event in events if event.tenant_id in existing]:
                await session.execute(insert(session, QueryLogEntry).on_conflict_do_nothing(), rows)


def _row(event: Event) -> dict[str, Any]:
    row = {
        **asdict(QueryOutcome(**event.details)),
        "tenant_id": event.tenant_id,
        "query_id": event.subject,
        "at": event.at,
    }
    return {"user_id": row.pop("user"), **row}
