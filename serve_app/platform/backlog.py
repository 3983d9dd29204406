"""How much waits, and how much is stored: what the whole service has, for metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

from sqlalchemy import Select, func, select

from deployments.ingestion.base import WaitingDocuments
from deployments.telemetry.metrics import (
    BLOB_BYTES,
    DOCUMENTS_STORED,
    DOCUMENTS_WAITING,
    INDEX_PASSAGES,
    INGESTION_LAG,
    WEBHOOKS_WAITING,
    Recorder,
)
from serve_app.platform import turns
from serve_app.storage.database import Database
from serve_app.storage.declarative import utc_now
from serve_app.storage.tables import Collection, IngestionTurn, Job, JobDocument, Tenant, TenantUsage, WebhookDelivery

TenantClass = Literal["light", "normal", "heavy"]
"""A tenant's weight is below 1, 1, or above 1."""
TENANT_CLASSES: Final[tuple[TenantClass, ...]] = get_args(TenantClass)


@dataclass(frozen=True, slots=True)
class Backlog:
    """`waiting`: documents of active tenants that are queued, by class. `lag_s`: how long the oldest of them has been
    allowed to be claimed. `bytes`: in the blob store. `webhooks`: messages of active tenants
    that are due, or are being sent."""

    waiting: Mapping[TenantClass, int]
    lag_s: float
    documents: int
    passages: int
    bytes: int
    webhooks: int

    def record(self, recorder: Recorder) -> None:
        for tenant_class, documents in self.waiting.items():
            recorder.record(DOCUMENTS_WAITING, documents, tenant_class=tenant_class)
        recorder.record(INGESTION_LAG, self.lag_s)
        recorder.record(DOCUMENTS_STORED, self.documents)
        recorder.record(INDEX_PASSAGES, self.passages)
        recorder.record(BLOB_BYTES, self.bytes)
        recorder.record(WEBHOOKS_WAITING, self.webhooks)


async def read(database: Database, clock: Callable[[], datetime] = utc_now) -> Backlog:
    """Takes a time that grows with the documents that wait, and with the number of tenants and collections."""
    async with database.session() as session:
        queues = [*(await session.execute(_of_turns())), *(await session.execute(_of_ray_jobs()))]
        stored = select(func.sum(TenantUsage.documents), func.sum(TenantUsage.bytes))
        documents, stored_bytes = (await session.execute(stored)).one()
        passages = await session.scalar(select(func.sum(Collection.passages)))
        webhooks = await session.scalar(_webhooks(clock()))
    waiting = dict.fromkeys(TENANT_CLASSES, 0)
    for settings, count, _ in queues:
        waiting[_class_of(float(settings.get("weight", 1.0)))] += count
    return Backlog(
        waiting,
        _lag_s([oldest for _, _, oldest in queues], clock()),
        int(documents or 0),
        int(passages or 0),
        int(stored_bytes or 0),
        int(webhooks or 0),
    )


async def waiting_for_workers(database: Database, now: datetime) -> WaitingDocuments:
    """Takes a time that grows with the documents that wait."""
    async with database.session() as session:
        queues = [*await session.execute(_of_turns())]
    return WaitingDocuments(sum(count for _, count, _ in queues), _lag_s([oldest for _, _, oldest in queues], now))


def _lag_s(oldest: Sequence[datetime], now: datetime) -> float:
    """How long the oldest document has waited, of the oldest of each queue; 0 if none waits, or not yet."""
    return max(0.0, max(((now - each).total_seconds() for each in oldest), default=0.0))


def _class_of(weight: float) -> TenantClass:
    return "light" if weight < 1 else "normal" if weight == 1 else "heavy"


def _webhooks(now: datetime) -> Select[int]:
    row = WebhookDelivery
    is_due = (row.state == "waiting") & (row.due <= now)
    return (
        select(func.count())
        .select_from(row)
        .join(Tenant, Tenant.id == row.tenant_id)
        .where(is_due | (row.state == "sending"), Tenant.status == "active")
    )


def _of_turns() -> Select[tuple[dict[str, object], int, datetime]]:
    """Of each tenant that waits for its turn: its settings, its queued documents, and since when the first waits."""
    turn, row = IngestionTurn, JobDocument
    return (
        select(Tenant.settings, func.count(), func.min(row.not_before))
        .join_from(turn, Tenant, Tenant.id == turn.tenant_id)
        .join(row, (row.tenant_id == turn.tenant_id) & (row.lane == turn.lane) & (row.state == "queued"))
        .where(turn.due.is_not(None), Tenant.status == "active")
        .group_by(Tenant.id, turn.lane)
    )


def _of_ray_jobs() -> Select[tuple[dict[str, object], int, datetime]]:
    """As `_of_turns`, of each bulk job that a Ray Job does or is to do."""
    row = JobDocument
    return (
        select(Tenant.settings, func.count(), func.min(row.not_before))
        .join_from(Job, Tenant, Tenant.id == Job.tenant_id)
        .join(row, (row.job_id == Job.id) & (row.state == "queued") & (row.lane >= turns.FOR_RAY_JOB))
        .where(Job.bulk.in_(("waiting", "running")), Tenant.status == "active")
        .group_by(Tenant.id, Job.id)
    )
