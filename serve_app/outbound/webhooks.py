"""Messages to webhooks, signed and sent again until they are taken (https://www.standardwebhooks.com)."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from standardwebhooks import Webhook

from deployments.errors import RagError
from deployments.tasks import Background
from serve_app.outbound.config import WebhookConfig
from serve_app.outbound.delivery_store import Delivery, DeliveryStore
from serve_app.outbound.http import Http

logger = logging.getLogger(__name__)

_FACTOR: Final = 4
"""By how much each wait is longer than the one before."""
_RECORD_S: Final = 30.0
"""How much longer than a try its lease lasts: time to record what came of it."""
_GONE: Final = 410


class WebhookSender(Background):
    """Sends what is due, from `start` to `stop` or `close`. Any number of them may share a store.

    A message is sent until its receiver answers 2xx. So it may come twice, with the same id. It is given up after the
    last try, or when the receiver answers 410. A message that was being sent when this stops is sent again once its
    lease is over. Redirects are not followed.
    """

    def __init__(self, config: WebhookConfig, store: DeliveryStore, http: Http) -> None:
        super().__init__()
        self._config = config
        self._store = store
        self._http = http
        self._active: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    async def _run(self) -> None:
        try:
            while True:
                self._changed.clear()
                free = self._config.concurrent - len(self._active)
                claimed = await self._claim(free) if free else []
                for delivery in claimed:
                    sending = asyncio.create_task(self._send(delivery))
                    self._active.add(sending)
                    sending.add_done_callback(self._done)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._config.poll_s):
                        await self._changed.wait()
        finally:
            ending = [*self._active]
            for sending in ending:
                sending.cancel()
            if ending:
                await asyncio.wait(ending)

    async def _claim(self, limit: int) -> list[Delivery]:
        try:
            await self._store.forget()
            return [*await self._store.claim(lease_s=self._config.timeout_s + _RECORD_S, limit=limit)]
        except Exception as error:
            logger.warning("webhooks wait: the messages could not be read: %s", error)
            return []

    def _done(self, sending: asyncio.Task[None]) -> None:
        self._active.discard(sending)
        self._changed.set()

    async def _send(self, delivery: Delivery) -> None:
        """One try. Its result is recorded, and nothing is raised but cancellation."""
        try:
            await self._try(delivery)
        except Exception:
            logger.exception("what came of message %s was not recorded; its lease will run out", delivery.id)

    async def _try(self, delivery: Delivery) -> None:
        keep_s, last = self._config.keep_s, delivery.attempts >= self._config.attempts
        try:
            async with asyncio.timeout(self._config.timeout_s):
                status = await self._post(delivery)
        except TimeoutError:
            problem = f"no answer within {self._config.timeout_s:g} s"
        except RagError as error:
            problem = error.message
        else:
            if 200 <= status < 300:
                await self._store.delivered(delivery, keep_s=keep_s)
                return
            problem, last = f"its receiver answered {status}", last or status == _GONE
        logger.warning("message %s of tenant %s was not taken: %s", delivery.id, delivery.tenant_id, problem)
        if last:
            await self._store.failed(delivery, problem, keep_s=keep_s)
        else:
            after_s = self._config.first_delay_s * _FACTOR ** (delivery.attempts - 1)
            await self._store.retry(delivery, problem, after_s=after_s)

    async def _post(self, delivery: Delivery) -> int:
        """The receiver's status. Raises InvalidRequest for a URL that may not be asked, Unreachable, NotFound."""
        message = await self._store.message(delivery, documents=self._config.documents)
        body = json.dumps(message, ensure_ascii=False)
        sent_at = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "rag-serve",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": Webhook(delivery.secret).sign(delivery.id, sent_at, body),
        }
        async with self._http.request(
            "POST", delivery.url, tenant_id=delivery.tenant_id, headers=headers, body=body.encode()
        ) as answer:
            return answer.status
