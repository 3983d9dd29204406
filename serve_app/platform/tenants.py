"""Tenants: what they may do, whether they may, and their removal without a trace."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal, Protocol, cast

from cachetools import TTLCache
from pydantic import ValidationError
from sqlalchemy import delete, func, inspect, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.config import issue_text
from deployments.errors import Conflict, InvalidRequest, NotFound, TenantSuspended, Unavailable
from serve_app.platform import collections, turns
from serve_app.platform.events import Event, Events
from serve_app.platform.job_states import IN_WORK
from serve_app.platform.tenant_settings import Settings
from serve_app.storage.batches import Pace
from serve_app.storage.blobs import TENANT_ID, Blobs
from serve_app.storage.database import Database, insert
from serve_app.storage.declarative import PLATFORM, Base, TenantOwned, of_tenant, utc_now
from serve_app.storage.merge_patch import apply_merge_patch
from serve_app.storage.tables import ApiKey, Collection, Document, Job, JobDocument, Tenant, is_unfinished

Status = Literal["active", "suspended", "deleting"]
MAX_CACHED_TENANTS = 10_000
_POLL_S = 0.2
_MAX_ROWS = 1_000
"""Rows that one transaction of a tenant's deletion removes from a table."""


@dataclass(frozen=True, slots=True)
class TenantView:
    """`settings` hold the webhook's secret; `new_secret` where it has just been set, and so may be shown."""

    id: str
    name: str
    status: Status
    settings: Settings
    created_at: datetime
    updated_at: datetime
    new_secret: bool = False


@dataclass(frozen=True, slots=True)
class Removed:
    """What a tenant's deletion took away."""

    passages: int
    documents: int
    blobs: int
    bytes: int
    keys: int
    jobs: int
    collections: int


class TenantIndex(Protocol):
    async def purge(self, tenant_id: str, *, collection: str = "") -> int:
        """Remove every passage of a tenant, or of one of its collections; how many there were."""
        ...


class Tenants:
    """Active tenants are cached for `cache_s` seconds: so long may a suspension by another replica go unnoticed here.

    `webhook_url` raises InvalidRequest for a URL that no message can be sent to.
    """

    def __init__(
        self,
        database: Database,
        events: Events | None = None,
        *,
        cache_s: float = 5.0,
        clock: Callable[[], datetime] = utc_now,
        timer: Callable[[], float] = time.monotonic,
        models: Sequence[str] = (),
        webhook_url: Callable[[str], object] = str,
    ) -> None:
        self.database = database
        self.events = events or Events()
        self.clock = clock
        self.models = tuple(models)
        self.webhook_url = webhook_url
        self._active: TTLCache[str, TenantView] = TTLCache(MAX_CACHED_TENANTS, cache_s, timer)

    async def create(self, tenant_id: str, name: str = "", settings: Settings | None = None) -> TenantView:
        """A new tenant with its default collection. Raises InvalidRequest, Conflict."""
        settings = (settings or Settings()).with_secret(Settings())
        made = await self._add(tenant_id, name, settings)
        if not made:
            raise Conflict(f"tenant {tenant_id!r} exists; choose another id, or patch it")
        self.events.publish(Event("tenant.created", tenant_id, tenant_id))
        return replace(await self.get(tenant_id), new_secret=settings.webhook is not None)

    async def ensure(self, tenant_id: str, name: str = "") -> None:
        """Create a tenant and its default collection unless they are there."""
        if await self._add(tenant_id, name, Settings()):
            self.events.publish(Event("tenant.created", tenant_id, tenant_id))

    async def get(self, tenant_id: str) -> TenantView:
        """Raises NotFound."""
        async with self.database.session() as session:
            row = await session.get(Tenant, tenant_id) if tenant_id != PLATFORM else None
        if row is None:
            raise NotFound(f"tenant {tenant_id[:80]!r} does not exist")
        return _view(row)

    async def active(self, tenant_id: str) -> TenantView:
        """The tenant, if it may work. Raises NotFound, TenantSuspended."""
        if (cached := self._active.get(tenant_id)) is not None:
            return cached
        tenant = await self.get(tenant_id)
        if tenant.status == "suspended":
            raise TenantSuspended(f"tenant {tenant_id!r} is suspended; ask the platform to resume it")
        if tenant.status == "deleting":
            raise NotFound(f"tenant {tenant_id!r} does not exist: it is being deleted")
        self._active[tenant_id] = tenant
        return tenant

    async def list(self, *, after: str = "", limit: int = 100) -> Sequence[TenantView]:
        """Tenants in the order of their ids, those after the id `after`."""
        async with self.database.session() as session:
            rows = await session.scalars(
                select(Tenant).where(Tenant.id > after, Tenant.id != PLATFORM).order_by(Tenant.id).limit(limit)
            )
            return [_view(row) for row in rows]

    async def patch(
        self,
        tenant_id: str,
        *,
        name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        suspended: bool | None = None,
    ) -> TenantView:
        """Change what is given; `settings` are merged key by key (a JSON merge patch). Raises NotFound."""
        if suspended is False:
            async with self.database.transaction() as session:
                await turns.rejoin(session, tenant_id, self.clock())
        async with self.database.transaction() as session:
            row = await _locked(session, tenant_id)
            if row.status == "deleting":
                raise NotFound(f"tenant {tenant_id!r} does not exist: it is being deleted")
            before, settings_before = row.status, Settings.model_validate(row.settings)
            if name is not None:
                row.name = name
            if settings is not None:
                changed = self._checked(apply_merge_patch(row.settings, settings)).with_secret(settings_before)
                row.settings = changed.model_dump(exclude_defaults=True)
            if suspended is not None:
                row.status = "suspended" if suspended else "active"
            row.updated_at = self.clock()
            await session.flush()
            view = _view(row)
            view = replace(view, new_secret=_secret(view.settings) != _secret(settings_before))
        self._active.pop(tenant_id, None)
        if name is not None or settings is not None:
            self.events.publish(Event("tenant.updated", tenant_id, tenant_id, {"settings": sorted(settings or ())}))
        if view.status != before:
            kind: Literal["tenant.suspended", "tenant.resumed"]
            kind = "tenant.suspended" if view.status == "suspended" else "tenant.resumed"
            self.events.publish(Event(kind, tenant_id, tenant_id))
        return view

    async def delete(self, tenant_id: str, index: TenantIndex, blobs: Blobs, *, settle_s: float) -> Removed:
        """Remove all that belongs to a tenant. If it fails halfway, the same call goes on where it stopped.

        From its first step on nothing new is accepted. Documents that workers have are waited for, at most
        `settle_s` seconds: a worker gives such a document up by itself, or its lease runs out. Raises NotFound,
        Unavailable.
        """
        await self._stop(tenant_id)
        await self._settled(tenant_id, settle_s)
        passages = await index.purge(tenant_id)
        files, size = await blobs.delete_tenant(tenant_id)
        counts = await self._forget(tenant_id)
        # What a worker or an upload that was cut off left after the first pass.
        passages += await index.purge(tenant_id)
        late_files, late_size = await blobs.delete_tenant(tenant_id)
        removed = Removed(passages=passages, blobs=files + late_files, bytes=size + late_size, **counts)
        self.events.publish(Event("tenant.deleted", PLATFORM, tenant_id, asdict(removed)))
        return removed

    async def _add(self, tenant_id: str, name: str, settings: Settings) -> bool:
        if not TENANT_ID.fullmatch(tenant_id):
            raise InvalidRequest(
                f"tenant {tenant_id[:80]!r}: use 1 to 64 of A-Z, a-z, 0-9, '_', '.' and '-', a letter or digit first"
            )
        self._checked(settings.model_dump())
        now = self.clock()
        row = {
            "id": tenant_id,
            "name": name or tenant_id,
            "status": "active",
            "settings": settings.model_dump(exclude_defaults=True),
            "created_at": now,
            "updated_at": now,
        }
        async with self.database.transaction() as session:
            made = await session.scalar(
                insert(session, Tenant).values(row).on_conflict_do_nothing().returning(Tenant.id)
            )
            if made is not None:
                await collections.add(session, tenant_id, [collections.DEFAULT], now)
        return made is not None

    def _checked(self, settings: Mapping[str, Any]) -> Settings:
        try:
            checked = Settings.model_validate(settings)
        except ValidationError as error:
            issues = [(".".join(("settings", *map(str, issue["loc"]))), issue_text(issue)) for issue in error.errors()]
            explained = "; ".join(f"{field}: {problem}" for field, problem in issues)
            raise InvalidRequest(explained, field=issues[0][0]) from None
        if checked.model is not None and checked.model not in self.models:
            known = ", ".join(map(repr, self.models)) or "none to choose from"
            raise InvalidRequest(
                f"settings.model: {checked.model[:80]!r} is not deployed; there is {known}", field="settings.model"
            )
        if checked.webhook is not None:
            try:
                self.webhook_url(checked.webhook.url)
            except InvalidRequest as error:
                field = "settings.webhook.url"
                raise InvalidRequest(f"{field}: {error.message}", field=field) from None
        return checked

    async def _stop(self, tenant_id: str) -> None:
        async with self.database.transaction() as session:
            row = await _locked(session, tenant_id)
            row.status, row.updated_at = "deleting", self.clock()
            await session.flush()
            in_work = (of_tenant(JobDocument, tenant_id), is_unfinished(), JobDocument.state.in_(IN_WORK))
            await session.execute(update(JobDocument).where(*in_work).values(given_up=True))
        self._active.pop(tenant_id, None)

    async def _settled(self, tenant_id: str, within_s: float) -> None:
        until = time.monotonic() + within_s
        while True:
            async with self.database.session() as session:
                working = await session.scalar(
                    select(func.count())
                    .select_from(JobDocument)
                    .where(
                        of_tenant(JobDocument, tenant_id),
                        is_unfinished(),
                        JobDocument.state.in_(IN_WORK),
                        JobDocument.lease_until > self.clock(),
                    )
                )
            if not working:
                return
            if time.monotonic() > until:
                raise Unavailable(
                    f"{working} documents of tenant {tenant_id!r} are still being worked on after {within_s:g} s; "
                    "nothing new is accepted from it, delete it again to go on"
                )
            await asyncio.sleep(_POLL_S)

    async def _forget(self, tenant_id: str) -> dict[str, int]:
        """Every row that carries the tenant, the referring ones first, and the tenant's own.

        The rows go in batches, each committed by itself. Logs may add some until the last transaction.
        """
        owned = {model.__table__: model for model in TenantOwned.__subclasses__()}
        models = [owned[table] for table in reversed(Base.metadata.sorted_tables) if table in owned]
        counts: Counter[type[Base]] = Counter()
        for model in models:
            pace = Pace(_MAX_ROWS)
            while True:
                limit = pace.size
                async with self.database.transaction() as session:
                    await _locked(session, tenant_id)
                    with pace.timed():
                        removed = await _delete_some(session, model, tenant_id, limit)
                await pace.rest()
                counts[model] += removed
                if removed < limit:
                    break
        async with self.database.transaction() as session:
            await _locked(session, tenant_id)
            for model in models:
                while removed := await _delete_some(session, model, tenant_id, _MAX_ROWS):
                    counts[model] += removed
            await session.execute(delete(Tenant).where(Tenant.id == tenant_id))
        return {
            "documents": counts[Document],
            "keys": counts[ApiKey],
            "jobs": counts[Job],
            "collections": counts[Collection],
        }


async def _delete_some(session: AsyncSession, model: type[TenantOwned], tenant_id: str, limit: int) -> int:
    """Delete at most `limit` of a tenant's rows; how many there were."""
    key = tuple_(*inspect(model).primary_key)
    chosen = select(*inspect(model).primary_key).where(of_tenant(model, tenant_id)).limit(limit)
    done = await session.execute(delete(model).where(key.in_(chosen)), execution_options={"synchronize_session": False})
    return int(getattr(done, "rowcount", 0))


async def _locked(session: AsyncSession, tenant_id: str) -> Tenant:
    row = None
    if tenant_id != PLATFORM:
        row = await session.scalar(select(Tenant).where(Tenant.id == tenant_id).with_for_update())
    if row is None:
        raise NotFound(f"tenant {tenant_id[:80]!r} does not exist")
    return row


def _secret(settings: Settings) -> str | None:
    return settings.webhook.secret if settings.webhook is not None else None


def _view(row: Tenant) -> TenantView:
    return TenantView(
        row.id,
        row.name,
        cast(Status, row.status),
        Settings.model_validate(row.settings),
        row.created_at,
        row.updated_at,
    )
