"""A job's end on its way to a receiver: real SQLite, a real sender, a real server, and another's code to verify."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from standardwebhooks import Webhook, WebhookVerificationError

from serve_app.outbound.config import ReachConfig, WebhookConfig
from serve_app.outbound.http import Http
from serve_app.outbound.webhooks import WebhookSender
from serve_app.platform.jobs import Jobs
from serve_app.platform.tenants import Tenants
from serve_app.platform.webhooks import Webhooks
from serve_app.schemas.jobs import job_as_json
from serve_app.storage.config import StoreConfig
from serve_app.storage.database import Database
from serve_app.storage.declarative import utc_now
from serve_app.storage.tables import WebhookDelivery
from tests.support.site import Asked, Site, answer, redirect, serving
from tests.support.storage import document, indexed
from tests.support.waiting import BOUND_S

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@dataclass
class Told:
    """A tenant whose webhook is the site's `/hook`."""

    site: Site
    database: Database
    jobs: Jobs

    def sender(self, now: datetime | None = None, **changed: Any) -> WebhookSender:
        """One to whose store it is `now`."""
        web = ReachConfig(allow_http=True, ports=(self.site.port,), networks=("127.0.0.1/32",))
        config = WebhookConfig.model_validate({"web": web, "poll_s": 0.02, "first_delay_s": 0.02, **changed})
        store = Webhooks(self.database, self.jobs.view, job_as_json, clock=lambda: now or utc_now())
        return WebhookSender(config, store, Http(config.web))

    async def ended(self) -> str:
        job = await self.jobs.accept("a", [document("d1", title="Žalba"), document("d2", "other")])
        for task in await self.jobs.queue.claim("w", lease_s=30, limit=2):
            await self.jobs.queue.finish(task, indexed({}))
        return job.id

    async def until(self, state: str, *, tried: bool = False) -> WebhookDelivery:
        """The message, once it is in a state, `tried` at least once."""
        async with asyncio.timeout(BOUND_S):
            while True:
                async with self.database.session() as session:
                    row: WebhookDelivery | None = await session.scalar(select(WebhookDelivery))
                if row is not None and row.state == state and row.attempts >= tried:
                    return row
                await asyncio.sleep(0.01)


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[Told]:
    database = Database(StoreConfig(url=f"sqlite:///{tmp_path / 'rag.db'}"))
    await database.migrate()
    async with serving() as site:
        await Tenants(database).ensure("a")
        hook = {"url": site.url("/hook"), "secret": SECRET}
        await Tenants(database).patch("a", settings={"webhook": hook})
        yield Told(site, database, Jobs(database))
    await database.close()


def verified(asked: Asked) -> dict[str, Any]:
    """The message, once its signature is that of the specification."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = f"{asked.headers['webhook-id']}.{asked.headers['webhook-timestamp']}.".encode() + asked.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert asked.headers["webhook-signature"] == f"v1,{expected}"
    message: dict[str, Any] = Webhook(SECRET).verify(asked.body, asked.headers)
    return message


def in_turn(*replies: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    """Each reply once; the last one stays."""
    waiting = list(replies)

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(waiting.pop(0) if len(waiting) > 1 else waiting[0])
        await writer.drain()

    return reply


async def test_a_job_s_end_is_told_and_signed(told: Told) -> None:
    told.site.replies["/hook"] = answer(b"", status="204 No Content")
    sender = told.sender(documents=1)
    sender.start()
    job = await told.ended()
    await told.until("delivered")
    await sender.close()
    [asked] = told.site.asked
    assert asked.line == "POST /hook HTTP/1.1"
    assert asked.headers["content-type"] == "application/json"
    message = verified(asked)
    view = job_as_json(await told.jobs.view("a", job))
    assert message == {
        "type": "job.completed",
        "timestamp": view["updated_at"],
        "data": view | {"documents": view["documents"][:1]},
    }
    forged = json.dumps(message | {"type": "job.forged"})
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(forged, asked.headers)


async def test_a_message_is_sent_again_until_it_is_taken(told: Told) -> None:
    told.site.replies["/hook"] = in_turn(
        answer(b"", status="500 Oops"), b"no HTTP\r\n\r\n", redirect(told.site.url("/elsewhere")), answer(b"ok")
    )
    told.site.replies["/elsewhere"] = answer(b"ok")
    sender = told.sender()
    sender.start()
    await told.ended()
    assert (await told.until("delivered")).attempts == 4
    await sender.close()
    assert [asked.line.split()[1] for asked in told.site.asked] == ["/hook"] * 4
    assert len({asked.headers["webhook-id"] for asked in told.site.asked}) == 1
    assert len({asked.body for asked in told.site.asked}) == 1
    for asked in told.site.asked:
        verified(asked)


async def test_a_message_waits_for_a_receiver_that_is_down(told: Told) -> None:
    async with serving() as gone:
        pass
    await Tenants(told.database).patch("a", settings={"webhook": {"url": gone.url("/hook")}})
    sender = told.sender(web=ReachConfig(allow_http=True, ports=(gone.port,), networks=("127.0.0.1/32",)))
    sender.start()
    await told.ended()
    assert "cannot be reached" in ((await told.until("waiting", tried=True)).problem or "")
    async with serving(port=gone.port) as back:
        back.replies["/hook"] = answer(b"")
        assert (await told.until("delivered")).attempts > 1
    await sender.close()
    verified(back.asked[0])


@pytest.mark.parametrize(
    ("reply", "attempts", "problem"),
    [("500 Oops", 2, "its receiver answered 500"), ("410 Gone", 1, "its receiver answered 410")],
)
async def test_a_message_is_given_up(told: Told, reply: str, attempts: int, problem: str) -> None:
    told.site.replies["/hook"] = answer(b"", status=reply)
    sender = told.sender(attempts=2)
    sender.start()
    await told.ended()
    row = await told.until("failed")
    await sender.close()
    assert (row.attempts, row.problem) == (attempts, problem)


async def test_a_receiver_that_does_not_answer_costs_its_time(told: Told) -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    told.site.replies["/hook"] = silent
    sender = told.sender(attempts=1, timeout_s=0.1)
    sender.start()
    await told.ended()
    assert (await told.until("failed")).problem == "no answer within 0.1 s"
    await sender.close()


async def test_a_receiver_inside_is_not_asked(told: Told) -> None:
    sender = told.sender(attempts=1, web=ReachConfig(allow_http=True, ports=(told.site.port,)))
    sender.start()
    await told.ended()
    row = await told.until("failed")
    await sender.close()
    assert "not a public one" in (row.problem or "")
    assert told.site.asked == []


async def test_what_one_sender_left_undone_the_next_one_does(told: Told) -> None:
    asked = asyncio.Event()

    async def silent(writer: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.sleep(3600)

    told.site.replies["/hook"] = silent
    first = told.sender()
    first.start()
    await told.ended()
    async with asyncio.timeout(BOUND_S):
        await asked.wait()
    await first.close()
    assert (await told.until("sending")).attempts == 1
    told.site.replies["/hook"] = answer(b"")
    second = told.sender(now=utc_now() + timedelta(minutes=5))  # the first one's lease is over
    second.start()
    assert (await told.until("delivered")).attempts == 2
    await second.close()
    assert len({each.headers["webhook-id"] for each in told.site.asked}) == 1
