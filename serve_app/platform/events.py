"""What happened, told to whoever subscribed. Publishing never waits, and no subscriber can hold or fail a request."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Literal, Protocol
from weakref import WeakKeyDictionary

from serve_app.platform import actor
from serve_app.platform.actor import Actor
from serve_app.platform.models import utc_now

logger = logging.getLogger(__name__)

EventType = Literal[
    "tenant.created", "tenant.updated", "tenant.suspended", "tenant.resumed", "tenant.deleted",
    "key.created", "key.rotated", "key.revoked",
    "collection.created", "collection.updated", "collection.deleted",
    "document.indexed", "document.updated", "document.failed", "document.deleted",
    "job.created", "job.failed", "job.cancelled", "webhook.failed",
    "query.completed", "query.failed", "query.cancelled",
]  # fmt: skip
MAX_WAITING = 10_000
"""Events that may wait for one subscriber; later ones are dropped for it, counted and logged."""
HANDLER_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Event:
    """`subject` is the id of what it happened to. `details` never hold a question, an answer or a document's text."""

    type: EventType
    tenant_id: str
    subject: str
    details: Mapping[str, Any] = field(default_factory=dict)
    actor: Actor = field(default_factory=actor.current)
    at: datetime = field(default_factory=utc_now)


class Subscriber(Protocol):
    name: str
    types: frozenset[str]

    async def handle(self, event: Event) -> None: ...


class Events:
    """Each subscriber has a queue and a task of its own, in each event loop that publishes."""

    def __init__(self, subscribers: Sequence[Subscriber] = (), *, max_waiting: int = MAX_WAITING) -> None:
        self.subscribers = tuple(subscribers)
        self.max_waiting = max_waiting
        self.dropped = 0
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Queue[Event]]]
        self._queues = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Events, max_waiting=self.max_waiting), (self.subscribers,)

    def publish(self, event: Event) -> None:
        """Hand an event to its subscribers' queues. Call after what it tells of is committed."""
        queues = self._running()
        for subscriber in self.subscribers:
            if event.type not in subscriber.types:
                continue
            try:
                queues[subscriber.name].put_nowait(event)
            except asyncio.QueueFull:
                self.dropped += 1
                logger.error("%s is too slow: %s of %s was dropped", subscriber.name, event.type, event.tenant_id)

    async def drain(self, within_s: float = 10.0) -> None:
        """Wait until everything published in this loop has been handled, but no longer than `within_s`."""
        try:
            async with asyncio.timeout(within_s):
                for queue in self._running().values():
                    await queue.join()
        except TimeoutError:
            logger.error("events were left unhandled after %g s", within_s)

    async def close(self) -> None:
        """End the subscribers' tasks of this loop."""
        self._queues.pop(asyncio.get_running_loop(), None)
        ending = [task for task in self._tasks if task.get_loop() is asyncio.get_running_loop()]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)

    def _running(self) -> dict[str, asyncio.Queue[Event]]:
        loop = asyncio.get_running_loop()
        if loop not in self._queues:
            self._queues[loop] = {each.name: asyncio.Queue(self.max_waiting) for each in self.subscribers}
            for subscriber in self.subscribers:
                # A context of its own: it must not end with the request that published first.
                task = loop.create_task(
                    self._deliver(subscriber, self._queues[loop][subscriber.name]), context=contextvars.Context()
                )
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return self._queues[loop]

    async def _deliver(self, subscriber: Subscriber, queue: asyncio.Queue[Event]) -> None:
        while True:
            event = await queue.get()
            try:
                async with asyncio.timeout(HANDLER_TIMEOUT_S):
                    await subscriber.handle(event)
            except Exception as error:
                logger.error(
                    "%s failed on %s of tenant %s: %s",
                    subscriber.name,
                    event.type,
                    event.tenant_id,
                    type(error).__name__,
                )
            finally:
                queue.task_done()
