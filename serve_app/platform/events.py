"""Events and their subscribers. Publishing never waits, and no subscriber can delay or fail a request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Literal, Protocol
from weakref import WeakKeyDictionary

from deployments.tasks import spawn_detached
from serve_app.platform import actor
from serve_app.platform.actor import Actor
from serve_app.storage.declarative import utc_now

logger = logging.getLogger(__name__)

EventType = Literal[
    "tenant.created", "tenant.updated", "tenant.suspended", "tenant.resumed", "tenant.deleted",
    "key.created", "key.rotated", "key.revoked",
    "collection.created", "collection.updated", "collection.deleted",
    "document.indexed", "document.updated", "document.failed", "document.deleted",
    "job.created", "job.failed", "job.cancelled", "index.switched", "webhook.failed",
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
    """`batch_size`: the most events that it takes at once, in their order. `pause_s`: how long it then lets others
    gather."""

    name: str
    types: frozenset[str]
    batch_size: int
    pause_s: float

    async def handle(self, events: Sequence[Event]) -> None: ...


class SingleEventSubscriber:
    """A subscriber that takes one event at a time, as they come."""

    batch_size = 1
    pause_s = 0.0


@dataclass(frozen=True, slots=True)
class _Queues:
    """A loop's queues by subscriber. `hurry` is set while `drain` waits until they are empty."""

    queues: Mapping[str, asyncio.Queue[Event]]
    hurry: asyncio.Event = field(default_factory=asyncio.Event)


class Events:
    """Each subscriber has a queue and a task of its own, in each event loop that publishes."""

    def __init__(self, subscribers: Sequence[Subscriber] = (), *, max_waiting: int = MAX_WAITING) -> None:
        self.subscribers = tuple(subscribers)
        self.max_waiting = max_waiting
        self.dropped = 0
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queues] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Events, max_waiting=self.max_waiting), (self.subscribers,)

    def publish(self, event: Event) -> None:
        """Hand an event to its subscribers' queues. Call after what it tells of is committed."""
        queues = self._running().queues
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
        waiting = self._running()
        waiting.hurry.set()
        try:
            async with asyncio.timeout(within_s):
                for queue in waiting.queues.values():
                    await queue.join()
        except TimeoutError:
            logger.error("events were left unhandled after %g s", within_s)
        finally:
            waiting.hurry.clear()

    async def close(self) -> None:
        """End the subscribers' tasks of this loop."""
        self._by_loop.pop(asyncio.get_running_loop(), None)
        ending = [task for task in self._tasks if task.get_loop() is asyncio.get_running_loop()]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)

    def _running(self) -> _Queues:
        loop = asyncio.get_running_loop()
        if loop not in self._by_loop:
            running = _Queues({subscriber.name: asyncio.Queue(self.max_waiting) for subscriber in self.subscribers})
            self._by_loop[loop] = running
            for subscriber in self.subscribers:
                # A context of its own: it must not end with the request that published first.
                delivering = self._deliver(subscriber, running.queues[subscriber.name], running.hurry)
                task = spawn_detached(delivering)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return self._by_loop[loop]

    async def _deliver(self, subscriber: Subscriber, queue: asyncio.Queue[Event], hurry: asyncio.Event) -> None:
        while True:
            events = [await queue.get()]
            while len(events) < subscriber.batch_size and not queue.empty():
                events.append(queue.get_nowait())
            try:
                await self._hand(subscriber, events)
            finally:
                for _ in events:
                    queue.task_done()
            if subscriber.pause_s:
                with suppress(TimeoutError):
                    async with asyncio.timeout(subscriber.pause_s):
                        await hurry.wait()

    async def _hand(self, subscriber: Subscriber, events: Sequence[Event]) -> None:
        try:
            async with asyncio.timeout(HANDLER_TIMEOUT_S):
                await subscriber.handle(events)
        except Exception as error:
            if len(events) > 1 and not isinstance(error, TimeoutError):
                for event in events:  # it may be about one of them alone
                    await self._hand(subscriber, [event])
                return
            for event in events:
                what = event.type, event.tenant_id, type(error).__name__
                logger.error("%s failed on %s of tenant %s: %s", subscriber.name, *what)
