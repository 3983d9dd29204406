"""What tenants use, counted by day, key and user as the query log is written: the numbers for a bill."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Any, Final, Literal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from serve_app.platform import usage
from serve_app.platform.events import Event
from serve_app.storage import pagination
from serve_app.storage.database import Database, Upsert
from serve_app.storage.declarative import of_tenant
from serve_app.storage.log_tables import DailyUsage
from serve_app.storage.pagination import Page

By = Literal["day", "key", "user"]
_KEY: Final = ("tenant_id", "day", "key_id", "user_id")
_COLUMNS: Final[Mapping[By, Any]] = {"day": DailyUsage.day, "key": DailyUsage.key_id, "user": DailyUsage.user}


@dataclass(frozen=True, slots=True)
class UsedBy:
    """What was asked on one day, with one key or by one user, whose name it has. `failed` and `cancelled` are among the
    questions, and `cached_tokens` among those of prompts."""

    name: str
    questions: int
    failed: int
    cancelled: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int

    @property
    def id(self) -> str:
        """Its place in the list. An empty name has one, too."""
        return f"={self.name}"


COUNTS: Final = tuple(field.name for field in fields(UsedBy) if field.name != "name")
"""What is counted: columns of the table, and fields of what is read from it."""
_COUNTED: Final = Upsert.adding(DailyUsage, _KEY, COUNTS)


@dataclass(frozen=True, slots=True)
class Period:
    """Days of UTC. `since` is the first, and `until` follows the last. None: from the first, or to the last."""

    since: date | None = None
    until: date | None = None


async def add(session: AsyncSession, queries: Iterable[Event]) -> None:
    """Count queries that have ended, in the transaction that logs them. Their tenants are locked by it."""
    counts = defaultdict[tuple[str, ...], Counter[str]](Counter)
    for event in queries:
        key = (event.tenant_id, event.at.date().isoformat(), event.actor.id, event.details["user"])
        counts[key].update(_counted(event))
    if not counts:
        return
    # In one order, so that no two transactions wait for each other's rows.
    rows = [dict(zip(_KEY, key, strict=True)) | dict(counts[key]) for key in sorted(counts)]
    await _COUNTED.run(session, rows)


def _counted(event: Event) -> dict[str, int]:
    return {
        "questions": 1,
        "failed": int(event.type == "query.failed"),
        "cancelled": int(event.type == "query.cancelled"),
        **{name: event.details[name] for name in COUNTS if name.endswith("_tokens")},
    }


class UsageReports:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def page(self, tenant_id: str, by: By, period: Period, *, after: str = "", limit: int = 100) -> Page[UsedBy]:
        """What a tenant used by day, key or user, in the order of their names.

        Raises InvalidRequest for an `after` that is no page's `next`.
        """
        row, column = DailyUsage, _COLUMNS[by]
        conditions = [of_tenant(row, tenant_id)]
        if period.since is not None:
            conditions.append(row.day >= period.since.isoformat())
        if period.until is not None:
            conditions.append(row.day < period.until.isoformat())
        sums = [func.sum(getattr(row, name)) for name in COUNTS]
        grouped = select(column, *sums).where(*conditions).group_by(column).order_by(column)

        async def read(after: str, limit: int) -> Sequence[UsedBy]:
            later = [column > pagination.parse_after(_PLACE, after)[1]] if after else []
            rows = await self.database.rows(grouped.where(*later).limit(limit))
            return [UsedBy(name, *map(int, counts)) for name, *counts in rows]

        return await pagination.page(read, None, after=after, limit=limit, max_scanned=limit)

    async def stored(self, tenant_id: str) -> usage.Usage:
        """What the tenant has now."""
        async with self.database.session() as session:
            return await usage.read(session, tenant_id)


_PLACE: Final = re.compile(r"=(.{0,256})", re.DOTALL)
