"""The query log, written by a subscriber: what answers took, for whom, and how they ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select, tuple_

from deployments.errors import NotFound
from serve_app.platform import daily_usage
from serve_app.platform.events import Event
from serve_app.platform.tenant_settings import lock_existing
from serve_app.storage import pagination
from serve_app.storage.database import Database, insert
from serve_app.storage.declarative import from_microseconds, of_tenant, to_microseconds
from serve_app.storage.log_tables import QueryLogEntry
from serve_app.storage.pagination import Page

QUERY_EVENTS = frozenset({"query.completed", "query.failed", "query.cancelled"})
_PLACE: Final = re.compile(r"([0-9]{1,16})\.([0-9a-f]{1,32})")


@dataclass(frozen=True, slots=True)
class QueryOutcome:
    """The details of a query's event. `outcome` is its finish reason or its error's code; timings in ms."""

    user: str
    language: str
    outcome: str
    engine: str | None
    model: str | None
    sources: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    degraded: Sequence[str]
    timings: dict[str, float]
    trace_id: str


@dataclass(frozen=True, slots=True)
class LoggedQuery(QueryOutcome):
    """`at` is when its answer ended. `key_id` and `request_id` say who asked, and `trace_id` names its trace; they are
    empty in old entries."""

    query_id: str
    at: datetime
    key_id: str
    request_id: str

    @property
    def id(self) -> str:
        """Its place in the list."""
        return f"{to_microseconds(self.at)}.{self.query_id}"


@dataclass(frozen=True, slots=True)
class ChosenQueries:
    """Which queries a list has. None chooses all, and an empty `user` those for no user.

    `since` is the first moment, and `until` the first that is too late.
    """

    user: str | None = None
    key_id: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def has(self, query: LoggedQuery) -> bool:
        """Whether the query is one of these. Times are left to the database."""
        return (
            self.user in (None, query.user)
            and self.key_id in (None, query.key_id)
            and self.outcome in (None, query.outcome)
        )


class QueryLog:
    """Writes all queries of 0.2 s in one transaction, because the transaction costs more than the rows. They are also
    counted for the usage of their day."""

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
            if known := [event for event in events if event.tenant_id in existing]:
                statement = insert(session, QueryLogEntry).on_conflict_do_nothing().returning(QueryLogEntry.query_id)
                logged = {*await session.scalars(statement, [_row(event) for event in known])}
                # Events of a batch that failed come again. What was logged before was counted then.
                new = {event.subject: event for event in known if event.subject in logged}
                await daily_usage.add(session, new.values())

    async def get(self, tenant_id: str, query_id: str) -> LoggedQuery:
        """Raises NotFound unless the tenant has it. It is there within a second of the answer's end."""
        row = QueryLogEntry
        async with self.database.session() as session:
            entry = await session.scalar(select(row).where(of_tenant(row, tenant_id), row.query_id == query_id))
        if entry is None:
            raise NotFound(
                f"query {query_id!r} is not in the log; it is there once it has ended, for `retention.queries_days`"
            )
        return _logged(entry)

    async def page(
        self, tenant_id: str, chosen: ChosenQueries, *, after: str = "", limit: int = 100, max_scanned: int = 10_000
    ) -> Page[LoggedQuery]:
        """A tenant's queries, the newest first. At most `max_scanned` are looked at for a page.

        Raises InvalidRequest for an `after` that is no page's `next`.
        """
        row = QueryLogEntry
        conditions = [of_tenant(row, tenant_id)]
        if chosen.since is not None:
            conditions.append(row.at >= chosen.since)
        if chosen.until is not None:
            conditions.append(row.at < chosen.until)
        newest_first = select(row).where(*conditions).order_by(row.at.desc(), row.query_id.desc())

        async def read(after: str, limit: int) -> Sequence[LoggedQuery]:
            older = [tuple_(row.at, row.query_id) < tuple_(*_place(after))] if after else []
            async with self.database.session() as session:
                return [_logged(entry) for entry in await session.scalars(newest_first.where(*older).limit(limit))]

        return await pagination.page(read, chosen.has, after=after, limit=limit, max_scanned=max_scanned)


def _row(event: Event) -> dict[str, Any]:
    row = {
        **asdict(QueryOutcome(**event.details)),
        "tenant_id": event.tenant_id,
        "query_id": event.subject,
        "at": event.at,
        "key_id": event.actor.id,
        "request_id": event.actor.request_id,
    }
    return {"user_id": row.pop("user"), **row}


def _logged(entry: QueryLogEntry) -> LoggedQuery:
    return LoggedQuery(**{field.name: getattr(entry, field.name) for field in fields(LoggedQuery)})


def _place(after: str) -> tuple[datetime, str]:
    match = pagination.parse_after(_PLACE, after)
    return from_microseconds(int(match[1])), match[2]
