"""What is removed because it has been kept long enough, and bytes in the blob store of which no row tells."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, inspect, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import NotFound
from serve_app.platform import stored_blobs, sweeps
from serve_app.platform.retention_config import RetentionConfig
from serve_app.platform.tenant_settings import Settings, require_open
from serve_app.storage.batches import Pace
from serve_app.storage.blobs import Blobs
from serve_app.storage.database import Database, count_rows
from serve_app.storage.declarative import TenantOwned, of_tenant, utc_now
from serve_app.storage.log_tables import AuditEntry, DailyUsage, QueryLogEntry
from serve_app.storage.tables import (
    ApiKey,
    HiddenVersion,
    IdempotentRequest,
    Job,
    JobDocument,
    StoredBlob,
    Tenant,
    WebhookDelivery,
    is_unfinished,
)

Kind = Literal["jobs", "audit", "queries", "usage", "keys"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
ROWS: Final = "rows"
"""The sweep that removes rows."""
_TENANTS: Final = 100
"""Tenants that are looked at together."""
_MAX_ROWS: Final = 1_000
"""Rows that one transaction removes."""
_MAX_COUNTED: Final = 10_000
_DUE: Final[Mapping[str, type[StoredBlob] | type[HiddenVersion]]] = {"uploads": StoredBlob, "versions": HiddenVersion}
"""What workers remove once it is due."""

Progress = tuple[str, Counter[str]]
"""The last tenant that is done, and what was removed since the last time."""


@dataclass(frozen=True, slots=True)
class RetentionState:
    """`days`: how long things are kept, None: until their tenant is deleted. `waiting`: how many of each are to be
    removed, 10,000 for more. `swept_at`: when the last round ended; `removed`: what went in it, of all tenants."""

    days: Mapping[Kind, float | None]
    waiting: Mapping[str, int]
    swept_at: datetime | None
    removed: Mapping[str, int]


class Retention:
    """`idempotency_s`: how long answers to repeated requests are kept."""

    def __init__(
        self,
        database: Database,
        config: RetentionConfig,
        *,
        idempotency_s: float,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.database = database
        self.config = config
        self.idempotency_s = idempotency_s
        self.clock = clock

    async def expire(self, cursor: str) -> AsyncIterator[Progress]:
        """Remove what tenants after the cursor have kept long enough, a batch of rows in each transaction."""
        async for removed in self._delete(_answers(self.clock() - timedelta(seconds=self.idempotency_s))):
            yield cursor, Counter(answers=removed)
        while tenants := await self._tenants(cursor):
            for kind in KINDS:
                for cutoff, ids in self._cutoffs(kind, tenants).items():
                    async for removed in self._delete(_past(kind, cutoff), ids):
                        yield cursor, Counter({kind: removed})
            cursor = [*tenants][-1]
            yield cursor, Counter()

    async def compare(self, blobs: Blobs, cursor: str) -> AsyncIterator[Progress]:
        """Have bytes removed that the store has of tenants after the cursor, and of which no row tells.

        They are of a time before a restored database, or of a release that had no rows for them.
        """
        while tenants := await self._tenants(cursor):
            for tenant_id in tenants:
                async for batch in blobs.list_tenant(tenant_id):
                    yield cursor, Counter(uploads=await self._release_unknown(tenant_id, batch))
                cursor = tenant_id
            yield cursor, Counter()

    async def state(self, tenant_id: str) -> RetentionState:
        """Of a tenant. Raises NotFound."""
        now = self.clock()
        async with self.database.session() as session:
            tenant = await session.get(Tenant, tenant_id)
            if tenant is None:
                raise NotFound(f"tenant {tenant_id[:80]!r} does not exist")
            days = {kind: self._days(kind, Settings.model_validate(tenant.settings)) for kind in KINDS}
            waiting: dict[str, int] = dict.fromkeys(KINDS, 0)
            for kind, kept in days.items():
                if kept is not None:
                    past = _past(kind, now - timedelta(days=kept))
                    waiting[kind] = await _count(session, past.model, of_tenant(past.model, tenant_id), past.condition)
            for name, model in _DUE.items():
                waiting[name] = await _count(session, model, of_tenant(model, tenant_id), model.due <= now)
            last = await sweeps.last(session, ROWS)
        return RetentionState(days, waiting, last.ended_at if last is not None else None, {})

    async def service_state(self) -> RetentionState:
        """Of all tenants, as far as it is told without reading the rows of all."""
        now = self.clock()
        async with self.database.session() as session:
            waiting = {kind: await _count(session, model, model.due <= now) for kind, model in _DUE.items()}
            last = await sweeps.last(session, ROWS)
        days = {kind: self._days(kind, Settings()) for kind in KINDS}
        swept_at, removed = (last.ended_at, last.removed) if last is not None else (None, {})
        return RetentionState(days, waiting, swept_at, removed)

    async def _tenants(self, after: str) -> dict[str, Settings]:
        rows = await self.database.rows(
            select(Tenant.id, Tenant.settings).where(Tenant.id > after).order_by(Tenant.id).limit(_TENANTS)
        )
        return {id: Settings.model_validate(settings) for id, settings in rows}

    def _days(self, kind: Kind, settings: Settings) -> float | None:
        own: float | None = getattr(settings.retention, f"{kind}_days")
        default: float | None = getattr(self.config, f"{kind}_days")
        return default if own is None else own

    def _cutoffs(self, kind: Kind, tenants: Mapping[str, Settings]) -> dict[datetime, list[str]]:
        """The tenants by the time up to which they no longer keep what ended."""
        now, cutoffs = self.clock(), defaultdict[datetime, list[str]](list)
        for tenant_id, settings in tenants.items():
            if (days := self._days(kind, settings)) is not None:
                cutoffs[now - timedelta(days=days)].append(tenant_id)
        return cutoffs

    async def _delete(self, past: _Past, tenants: Sequence[str] | None = None) -> AsyncIterator[int]:
        """Remove rows in batches, each committed by itself: how many there were. `tenants` None: of all."""
        pace = Pace(_MAX_ROWS)
        of_these = past.model.tenant_id.in_(tenants) if tenants is not None else None
        while True:
            limit = pace.size
            async with self.database.transaction() as session:
                with pace.timed():
                    removed, more = await past.delete(session, of_these, limit)
            await pace.rest()
            if removed:
                yield removed
            if not more:
                return

    async def _release_unknown(self, tenant_id: str, sizes: Mapping[str, int]) -> int:
        try:
            async with self.database.transaction() as session:
                await require_open(session, tenant_id)
                known = await stored_blobs.known(session, tenant_id, [*sizes])
                unknown = {key: size for key, size in sizes.items() if key not in known}
                await stored_blobs.reserve(session, tenant_id, unknown, self.clock())
        except NotFound:  # the tenant is being deleted
            return 0
        return len(unknown)


@dataclass(frozen=True, slots=True)
class _Past:
    """Rows that have been kept long enough."""

    model: type[TenantOwned]
    condition: ColumnElement[bool]

    async def delete(
        self, session: AsyncSession, of_tenants: ColumnElement[bool] | None, limit: int
    ) -> tuple[int, bool]:
        """Delete at most `limit` rows: how many there were, and whether there may be more."""
        key = inspect(self.model).primary_key
        chosen = select(*key).where(self.condition).limit(limit)
        if of_tenants is not None:
            chosen = chosen.where(of_tenants)
        if self.model is Job:
            return await _delete_jobs(session, chosen, limit)
        removed = await _delete(session, self.model, tuple_(*key).in_(chosen))
        return removed, removed == limit


def _past(kind: Kind, cutoff: datetime) -> _Past:
    match kind:
        case "jobs":
            return _Past(Job, _ended_job(cutoff))
        case "audit":
            return _Past(AuditEntry, AuditEntry.at <= cutoff)
        case "queries":
            return _Past(QueryLogEntry, QueryLogEntry.at <= cutoff)
        case "usage":
            return _Past(DailyUsage, DailyUsage.day < cutoff.date().isoformat())
        case "keys":
            return _Past(ApiKey, or_(ApiKey.expires_at <= cutoff, ApiKey.revoked_at <= cutoff))


def _answers(cutoff: datetime) -> _Past:
    return _Past(IdempotentRequest, IdempotentRequest.created_at <= cutoff)


def _ended_job(cutoff: datetime) -> ColumnElement[bool]:
    """That nothing of a job goes on, nor has happened since, and that its message is no longer to be sent."""
    row, message = JobDocument, WebhookDelivery
    of_job = (row.tenant_id == Job.tenant_id, row.job_id == Job.id)
    is_told = message.state.in_(("delivered", "failed"))
    return and_(
        Job.created_at <= cutoff,
        func.coalesce(Job.reindex, "") != "filling",
        ~exists().where(*of_job, or_(is_unfinished(), row.updated_at > cutoff)),
        ~exists().where(message.job_id == Job.id, ~is_told),
    )


async def _delete_jobs(session: AsyncSession, chosen: Select[Any], limit: int) -> tuple[int, bool]:
    """Delete the first of the chosen jobs, or of a job with many documents some of these first."""
    ids = (await session.scalars(chosen.with_only_columns(Job.id))).all()
    if not ids:
        return 0, False
    some = select(JobDocument.sequence).where(JobDocument.job_id.in_(ids)).limit(limit)
    if await _delete(session, JobDocument, JobDocument.sequence.in_(some)) == limit:
        return 0, True
    await _delete(session, WebhookDelivery, WebhookDelivery.job_id.in_(ids))
    return await _delete(session, Job, Job.id.in_(ids)), True


async def _delete(session: AsyncSession, model: type[TenantOwned], condition: ColumnElement[bool]) -> int:
    done = await session.execute(delete(model).where(condition), execution_options={"synchronize_session": False})
    return int(getattr(done, "rowcount", 0))


async def _count(session: AsyncSession, model: type[TenantOwned], *conditions: ColumnElement[bool]) -> int:
    some = select(model.tenant_id).where(*conditions).limit(_MAX_COUNTED)
    return await count_rows(session, some)
