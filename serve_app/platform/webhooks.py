"""Messages to tenants' webhooks that jobs have ended.

    expected → waiting → sending → delivered | failed
                  ↑_______ retry, lease lost _|

A job that is accepted while its tenant has a webhook gets its one message in the same transaction. So every end of a
job has a message, and only one. It is expected until none of the job's documents is unfinished.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from sqlalchemy import delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from serve_app.outbound.delivery_store import Delivery
from serve_app.platform.events import Event, Events
from serve_app.platform.job_states import UNFINISHED
from serve_app.platform.tenant_settings import Settings
from serve_app.storage.database import Database
from serve_app.storage.declarative import of_tenant, utc_now
from serve_app.storage.tables import Job, JobDocument, Tenant, WebhookDelivery

if TYPE_CHECKING:  # jobs.py expects messages here
    from serve_app.platform.jobs import JobView

_EXPECTED_BATCH: Final = 1_000
"""Expected messages that one claim makes due at most."""
_MAX_PROBLEM: Final = 500


def expect(session: AsyncSession, tenant_id: str, job_id: str, settings: Settings, now: datetime) -> None:
    """Add the message of a job's end in the transaction that accepts the job, if the tenant has a webhook."""
    if settings.webhook is not None:
        session.add(
            WebhookDelivery(tenant_id=tenant_id, id=f"msg_{uuid4().hex}", job_id=job_id, state="expected", due=now)
        )


class Webhooks:
    """Implements the sender's DeliveryStore. `view` reads a tenant's job; `render` makes it what callers see."""

    def __init__(
        self,
        database: Database,
        view: Callable[[str, str], Awaitable[JobView]],
        render: Callable[[JobView], dict[str, Any]],
        events: Events | None = None,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.database = database
        self.events = events or Events()
        self.clock = clock
        self._view = view
        self._render = render

    async def claim(self, *, lease_s: float, limit: int) -> Sequence[Delivery]:
        """Messages that are due: at most one of each tenant, and none of a tenant to which a message is being sent.

        So a slow receiver delays its own tenant's messages only. The messages of a suspended tenant wait until it is
        resumed.
        """
        now = self.clock()
        row, other = WebhookDelivery, aliased(WebhookDelivery)
        unfinished = exists().where(JobDocument.job_id == row.job_id, JobDocument.state.in_(UNFINISHED))
        filling = exists().where(Job.id == row.job_id, Job.reindex == "filling")
        ended = (
            select(row.id)
            .where(row.state == "expected", ~unfinished, ~filling)
            .limit(_EXPECTED_BATCH)
            .with_for_update(skip_locked=True)
        )
        first = (
            select(other.id)
            .where(other.tenant_id == row.tenant_id, other.state.in_(("waiting", "sending")), other.due <= now)
            .order_by(other.due, other.id)
            .limit(1)
            .scalar_subquery()
        )
        being_sent = exists().where(other.tenant_id == row.tenant_id, other.state == "sending", other.due > now)
        next_ones = (
            select(row, Tenant.settings)
            .join(Tenant, Tenant.id == row.tenant_id)
            .where(row.state.in_(("waiting", "sending")), row.due <= now, row.id == first, ~being_sent)
            .where(Tenant.status == "active")
            .order_by(row.due)
            .limit(limit)
            .with_for_update(of=row, skip_locked=True)
        )
        claimed = []
        async with self.database.transaction() as session:
            if ids := (await session.scalars(ended)).all():
                await session.execute(update(row).where(row.id.in_(ids)).values(state="waiting", due=now))
            for message, settings in (await session.execute(next_ones)).all():
                webhook = Settings.model_validate(settings).webhook
                if webhook is None or webhook.secret is None:
                    await session.delete(message)  # the webhook was taken out of the settings meanwhile
                    continue
                message.state, message.due = "sending", now + timedelta(seconds=lease_s)
                message.attempts += 1
                claimed.append(
                    Delivery(
                        message.id, message.tenant_id, message.job_id, message.attempts, webhook.url, webhook.secret
                    )
                )
            await session.flush()
        return claimed

    async def message(self, delivery: Delivery, *, documents: int) -> dict[str, Any]:
        job = self._render(await self._view(delivery.tenant_id, delivery.job_id))
        return {
            "type": "job.completed",
            "timestamp": job["updated_at"],
            "data": job | {"documents": job["documents"][:documents]},
        }

    async def delivered(self, delivery: Delivery, *, keep_s: float) -> None:
        await self._set(delivery, "delivered", None, due_in_s=keep_s)

    async def retry(self, delivery: Delivery, problem: str, *, after_s: float) -> None:
        await self._set(delivery, "waiting", problem, due_in_s=after_s)

    async def failed(self, delivery: Delivery, problem: str, *, keep_s: float) -> None:
        if await self._set(delivery, "failed", problem, due_in_s=keep_s):
            details = {"job_id": delivery.job_id, "attempts": delivery.attempts, "problem": problem[:_MAX_PROBLEM]}
            self.events.publish(Event("webhook.failed", delivery.tenant_id, delivery.id, details))

    async def forget(self) -> None:
        row = WebhookDelivery
        async with self.database.transaction() as session:
            await session.execute(delete(row).where(row.state.in_(("delivered", "failed")), row.due <= self.clock()))

    async def _set(self, delivery: Delivery, state: str, problem: str | None, *, due_in_s: float) -> bool:
        """Whether the claim still stood."""
        row = WebhookDelivery
        due = self.clock() + timedelta(seconds=due_in_s)
        change = (
            update(row)
            .where(of_tenant(row, delivery.tenant_id), row.id == delivery.id)
            .where(row.state == "sending", row.attempts == delivery.attempts)
            .values(state=state, due=due, problem=problem and problem[:_MAX_PROBLEM])
            .returning(row.id)
        )
        async with self.database.transaction() as session:
            return await session.scalar(change) is not None
