from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import AsyncIterator, Sequence

import pytest

from serve_app.platform import actor
from serve_app.platform.actor import SYSTEM, Actor
from serve_app.platform.events import Event, Events, SingleEventSubscriber
from tests.support.waiting import BOUND_S, until

CREATED = frozenset({"key.created"})


class Notebook(SingleEventSubscriber):
    """Writes down what it is told, each event once the gate is open."""

    def __init__(self, name: str = "the notebook", types: frozenset[str] = CREATED) -> None:
        self.name = name
        self.types = types
        self.told: list[str] = []
        self.begun = asyncio.Event()
        self.heard = asyncio.Semaphore(0)
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, events: Sequence[Event]) -> None:
        [event] = events
        self.begun.set()
        await self.gate.wait()
        self.told.append(event.subject)
        self.heard.release()


class Broken(SingleEventSubscriber):
    """Fails on every event but the last."""

    name = "the broken one"
    types = CREATED

    def __init__(self) -> None:
        self.told: list[str] = []

    async def handle(self, events: Sequence[Event]) -> None:
        [event] = events
        if event.subject != "last":
            raise ZeroDivisionError(f"a text of {event.tenant_id}'s")
        self.told.append(event.subject)


class Portable(SingleEventSubscriber):
    """One that a replica can be sent."""

    name = "the portable one"
    types = CREATED

    async def handle(self, events: Sequence[Event]) -> None: ...


@pytest.fixture
async def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
async def events(notebook: Notebook) -> AsyncIterator[Events]:
    events = Events((notebook,), max_waiting=3)
    yield events
    await events.close()


def created(key: str) -> Event:
    return Event("key.created", "a", key)


async def test_events_arrive_in_their_order(events: Events, notebook: Notebook) -> None:
    for key in ("1", "2", "3"):
        events.publish(created(key))
    await events.drain()
    assert notebook.told == ["1", "2", "3"]


async def test_a_subscriber_hears_of_its_types_only(events: Events, notebook: Notebook) -> None:
    events.publish(Event("key.revoked", "a", "k"))
    events.publish(created("k2"))
    await events.drain()
    assert notebook.told == ["k2"]


async def test_publishing_does_not_wait_for_a_slow_subscriber(events: Events, notebook: Notebook) -> None:
    notebook.gate.clear()
    events.publish(created("k"))
    await notebook.begun.wait()
    assert notebook.told == []
    notebook.gate.set()
    await events.drain()
    assert notebook.told == ["k"]


async def test_a_slow_subscriber_holds_no_other(notebook: Notebook) -> None:
    slow = Notebook("the slow one")
    slow.gate.clear()
    events = Events((slow, notebook))
    events.publish(created("1"))
    events.publish(created("2"))
    for _ in range(2):
        await notebook.heard.acquire()
    assert (slow.told, notebook.told) == ([], ["1", "2"])
    await events.close()


async def test_what_a_full_queue_cannot_take_is_dropped_counted_and_logged(
    events: Events, notebook: Notebook, caplog: pytest.LogCaptureFixture
) -> None:
    notebook.gate.clear()
    events.publish(created("in work"))
    await notebook.begun.wait()
    for n in range(5):
        events.publish(created(str(n)))
    assert events.dropped == 2
    assert [record.getMessage() for record in caplog.records] == 2 * [
        "the notebook is too slow: key.created of a was dropped"
    ]
    notebook.gate.set()
    await events.drain()
    assert notebook.told == ["in work", "0", "1", "2"]


async def test_a_failing_subscriber_goes_on_with_the_next_event(
    notebook: Notebook, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken()
    events = Events((broken, notebook))
    for key in ("first", "last"):
        events.publish(created(key))
    await events.drain()
    assert (broken.told, notebook.told) == (["last"], ["first", "last"])
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "the broken one failed on key.created of tenant a: ZeroDivisionError", "no content"
    await events.close()


class Gathering:
    """Takes three at once and then lets others gather; fails on some."""

    name = "the gatherer"
    types = CREATED
    batch_size = 3

    def __init__(self, pause_s: float, *fails_on: str) -> None:
        self.pause_s = pause_s
        self.fails_on = fails_on
        self.told: list[str] = []
        self.begun = asyncio.Event()

    async def handle(self, events: Sequence[Event]) -> None:
        keys = [event.subject for event in events]
        if {*keys} & {*self.fails_on}:
            raise ZeroDivisionError
        self.told.append("".join(keys))
        self.begun.set()


async def test_what_gathers_while_a_subscriber_pauses_is_told_at_once() -> None:
    gathering = Gathering(3600)
    events = Events((gathering,))
    events.publish(created("0"))
    await gathering.begun.wait()
    for key in "12345":
        events.publish(created(key))
    await asyncio.sleep(0.05)  # only a pause shows that nothing is told; a slow machine cannot fail here
    assert gathering.told == ["0"]
    await events.drain(within_s=BOUND_S)
    assert gathering.told == ["0", "123", "45"], "who waits for the rest is not kept waiting by a pause"
    await events.close()


async def test_a_pause_ends_by_itself() -> None:
    gathering = Gathering(0.02)
    events = Events((gathering,))
    for key in "0123":
        events.publish(created(key))
    await until(lambda: gathering.told == ["012", "3"])  # nobody has to do anything
    await events.close()


async def test_of_events_told_at_once_only_what_fails_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    gathering = Gathering(0, "1")
    events = Events((gathering,))
    for key in "0123":
        events.publish(created(key))
    await events.drain()
    assert gathering.told == ["0", "2", "3"]
    assert [record.getMessage() for record in caplog.records] == [
        "the gatherer failed on key.created of tenant a: ZeroDivisionError"
    ]
    await events.close()


async def test_a_subscriber_that_hangs_is_given_up(
    events: Events, notebook: Notebook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serve_app.platform.events.HANDLER_TIMEOUT_S", 0.01)
    notebook.gate.clear()
    events.publish(created("hangs"))
    await events.drain()
    assert "the notebook failed on key.created of tenant a: TimeoutError" in caplog.text
    notebook.gate.set()
    events.publish(created("next"))
    await events.drain()
    assert notebook.told == ["next"]


async def test_waiting_for_the_rest_ends_in_time(
    events: Events, notebook: Notebook, caplog: pytest.LogCaptureFixture
) -> None:
    notebook.gate.clear()
    events.publish(created("k"))
    await events.drain(within_s=0.01)
    assert "left unhandled" in caplog.text


async def test_a_subscriber_outlives_the_request_that_published_first(events: Events, notebook: Notebook) -> None:
    async def request(key: str) -> None:
        actor.act_as(Actor(key, "admin", "r"))
        events.publish(created(key))

    for key in ("1", "2"):
        await asyncio.create_task(request(key))
    await events.drain()
    assert notebook.told == ["1", "2"]


async def test_an_event_names_who_acted_when_it_happened() -> None:
    assert created("k").actor == SYSTEM

    async def request() -> Event:
        actor.act_as(Actor("key_1", "admin", "r-1"))
        return created("k")

    assert (await asyncio.create_task(request())).actor == Actor("key_1", "admin", "r-1")
    assert actor.current() == SYSTEM, "one request's actor must not stay behind"


async def test_they_travel_to_a_replica_after_use() -> None:
    events = Events((Portable(),), max_waiting=7)
    events.publish(created("k"))
    copy = pickle.loads(pickle.dumps(events))
    assert ([each.name for each in copy.subscribers], copy.max_waiting) == (["the portable one"], 7)
    copy.publish(created("k"))
    for each in (events, copy):
        await each.drain()
        await each.close()


async def test_closed_they_leave_no_task_and_may_be_used_again(events: Events, notebook: Notebook) -> None:
    before = asyncio.all_tasks()
    for key in ("1", "2"):
        events.publish(created(key))
        await events.drain()
        await events.close()
        assert asyncio.all_tasks() == before
    assert notebook.told == ["1", "2"]


def test_each_event_loop_has_its_own_queues() -> None:
    told: list[str] = []

    class Listener(SingleEventSubscriber):
        name = "the listener"
        types = CREATED

        async def handle(self, events: Sequence[Event]) -> None:
            told.extend(event.subject for event in events)

    events = Events((Listener(),))

    async def use(key: str) -> None:
        events.publish(created(key))
        await events.drain()

    for key in ("1", "2"):
        asyncio.run(use(key))
    assert told == ["1", "2"]
