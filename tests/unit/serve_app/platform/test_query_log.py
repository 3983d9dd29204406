"""What is kept of queries that have ended, and what is counted of them by day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from deployments.errors import InvalidRequest, NotFound
from serve_app.platform.actor import Actor
from serve_app.platform.audit import AuditLog
from serve_app.platform.daily_usage import By, Period, UsageReports, UsedBy
from serve_app.platform.events import Event, Events
from serve_app.platform.query_log import ChosenQueries, QueryLog, QueryOutcome
from serve_app.platform.tenants import Tenants
from serve_app.storage.blobs import Blobs
from serve_app.storage.config import BlobConfig
from serve_app.storage.database import Database
from serve_app.storage.log_tables import DailyUsage, QueryLogEntry
from tests.support.storage import Clock, EmptyIndex

OUTCOME = QueryOutcome(
    user="ana",
    language="hr",
    outcome="stop",
    engine="vllm",
    model="tiny",
    sources=3,
    prompt_tokens=100,
    cached_tokens=60,
    completion_tokens=20,
    degraded=["reranking"],
    timings={"embedding": 1.5, "generation": 200.0},
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
)
ASKER = Actor("key_7", "query", "request-1")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
ALL = ChosenQueries()


def query_id(n: int) -> str:
    return f"{n:032x}"


def ended(n: int, tenant: str = "a", *, at: datetime = NOON, actor: Actor = ASKER, **outcome: Any) -> Event:
    return Event("query.completed", tenant, query_id(n), asdict(replace(OUTCOME, **outcome)), actor=actor, at=at)


@pytest.fixture
def log(database: Database) -> QueryLog:
    return QueryLog(database)


@pytest.fixture
async def events(log: QueryLog) -> AsyncIterator[Events]:
    events = Events((log,))
    yield events
    await events.close()


@pytest.fixture
def reports(database: Database) -> UsageReports:
    return UsageReports(database)


async def rows(database: Database) -> list[QueryLogEntry]:
    async with database.session() as session:
        return [*await session.scalars(select(QueryLogEntry).order_by(QueryLogEntry.query_id))]


async def ids(log: QueryLog, chosen: ChosenQueries = ALL, *, limit: int = 100, max_scanned: int = 10_000) -> list[int]:
    """Of all pages."""
    found, after = list[int](), ""
    while True:
        page = await log.page("a", chosen, after=after, limit=limit, max_scanned=max_scanned)
        found += [int(row.query_id, 16) for row in page.rows]
        if page.next is None:
            return found
        after = page.next


async def used(reports: UsageReports, by: By = "day", *, limit: int = 100, **period: date) -> list[UsedBy]:
    """Of all pages."""
    found, after = list[UsedBy](), ""
    while True:
        page = await reports.page("a", by, Period(**period), after=after, limit=limit)
        found += page.rows
        if page.next is None:
            return found
        after = page.next


async def test_a_query_leaves_a_row_without_its_words(events: Events, log: QueryLog) -> None:
    events.publish(ended(1))
    await events.drain()
    logged = asdict(await log.get("a", query_id(1)))
    told = {"query_id": query_id(1), "at": NOON, "key_id": "key_7", "request_id": "request-1"}
    assert logged == asdict(OUTCOME) | told


async def test_a_query_is_logged_however_it_ended(database: Database) -> None:
    audit = AuditLog(database)
    events = Events((audit, QueryLog(database)))
    for n, kind in enumerate(("query.completed", "query.failed", "query.cancelled")):
        events.publish(replace(ended(n, outcome=kind, engine=None), type=kind))  # type: ignore[arg-type]
    await events.drain()
    await events.close()
    assert [row.outcome for row in await rows(database)] == ["query.completed", "query.failed", "query.cancelled"]
    assert (await audit.list("a")).entries == [], "queries have a log of their own"


@pytest.mark.every_database
async def test_queries_that_are_written_together_are_each_their_tenants(events: Events, database: Database) -> None:
    """The first is written by itself, the others together; one of their tenants is gone by then."""
    for n, tenant in enumerate(("a", "b", "gone", "a")):
        events.publish(ended(n, tenant))
    await events.drain()
    assert [(int(row.query_id, 16), row.tenant_id) for row in await rows(database)] == [(0, "a"), (1, "b"), (3, "a")]


@pytest.mark.every_database
async def test_the_same_query_told_twice_is_one_row_and_counts_once(
    events: Events, database: Database, reports: UsageReports
) -> None:
    for n in (1, 1, 2, 1):
        events.publish(ended(n))
    await events.drain()
    assert len(await rows(database)) == 2
    [day] = await used(reports)
    assert (day.questions, day.prompt_tokens) == (2, 200)


async def test_nothing_is_left_of_a_tenant_that_is_deleted(
    events: Events, database: Database, clock: Clock, tmp_path: Path
) -> None:
    events.publish(ended(0))
    await events.drain()
    tenants = Tenants(database, events, clock=clock)
    await tenants.delete("a", EmptyIndex(), Blobs(BlobConfig(url=str(tmp_path / "blobs"))), settle_s=0)
    events.publish(ended(1))
    await events.drain()
    assert await rows(database) == []
    async with database.session() as session:
        assert (await session.scalars(select(DailyUsage))).all() == []


async def test_a_query_is_found_by_its_tenant_alone(events: Events, log: QueryLog) -> None:
    events.publish(ended(1))
    await events.drain()
    for tenant, number in (("b", 1), ("a", 2)):
        with pytest.raises(NotFound, match="is not in the log"):
            await log.get(tenant, query_id(number))


@pytest.mark.every_database
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_hold_each_query_once_also_those_of_one_moment(events: Events, log: QueryLog, limit: int) -> None:
    for n, seconds in enumerate((0, 1, 1, 1, 1, 2, 2)):
        events.publish(ended(n, at=NOON + timedelta(seconds=seconds)))
        events.publish(ended(100 + n, "b", at=NOON + timedelta(seconds=seconds)))
    await events.drain()
    assert await ids(log, limit=limit) == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.every_database
async def test_queries_are_chosen_by_user_key_outcome_and_time(events: Events, log: QueryLog) -> None:
    events.publish(ended(0, user=""))
    events.publish(ended(1, actor=Actor("key_8", "query", "r"), at=NOON + timedelta(hours=1)))
    events.publish(ended(2, outcome="overloaded", at=NOON + timedelta(hours=2)))
    await events.drain()
    for chosen, expected in (
        (ChosenQueries(user=""), [0]),
        (ChosenQueries(user="ana"), [2, 1]),
        (ChosenQueries(key_id="key_8"), [1]),
        (ChosenQueries(outcome="overloaded"), [2]),
        (ChosenQueries(since=NOON + timedelta(hours=1)), [2, 1]),
        (ChosenQueries(until=NOON + timedelta(hours=1)), [0]),
        (ChosenQueries(user="ana", since=NOON, until=NOON + timedelta(hours=2)), [1]),
    ):
        assert await ids(log, chosen) == expected, chosen


async def test_a_page_examines_a_bounded_number_of_queries(events: Events, log: QueryLog) -> None:
    for n in range(9):
        events.publish(ended(n, user="rare" if n == 0 else "ana"))
    await events.drain()
    rare = ChosenQueries(user="rare")
    page = await log.page("a", rare, max_scanned=4)
    assert page.rows == []
    assert page.next is not None
    assert await ids(log, rare, max_scanned=4) == [0]


@pytest.mark.parametrize("after", ["x", "1", "1.", "-1.0", f"{10**16}.0", f"1.{'a' * 33}", "1.0\n"])
async def test_what_is_no_place_is_refused(log: QueryLog, reports: UsageReports, after: str) -> None:
    with pytest.raises(InvalidRequest, match=r"after: .* is not the `next` of a page"):
        await log.page("a", ALL, after=after)
    with pytest.raises(InvalidRequest, match=r"after: .* is not the `next` of a page"):
        await reports.page("a", "day", Period(), after=after)


@pytest.mark.every_database
@pytest.mark.parametrize("limit", [1, 100])
async def test_usage_is_counted_by_day_key_and_user(events: Events, reports: UsageReports, limit: int) -> None:
    day = timedelta(days=1)
    other = Actor("key_8", "query", "r")
    told: Sequence[Event] = (
        ended(0),
        ended(1, user=""),
        replace(ended(2, actor=other), type="query.cancelled"),
        replace(ended(3, at=NOON + day, prompt_tokens=0, cached_tokens=0, completion_tokens=0), type="query.failed"),
        ended(4, "b"),
    )
    for event in told:
        events.publish(event)
    await events.drain()
    assert await used(reports, limit=limit) == [
        UsedBy("2026-11-24", 3, 0, 1, 300, 180, 60),
        UsedBy("2026-11-25", 1, 1, 0, 0, 0, 0),
    ]
    assert await used(reports, "key", limit=limit) == [
        UsedBy("key_7", 3, 1, 0, 200, 120, 40),
        UsedBy("key_8", 1, 0, 1, 100, 60, 20),
    ]
    assert await used(reports, "user", limit=limit) == [
        UsedBy("", 1, 0, 0, 100, 60, 20),
        UsedBy("ana", 3, 1, 1, 200, 120, 40),
    ]
    assert [row.name for row in await used(reports, since=date(2026, 11, 25))] == ["2026-11-25"]
    assert [row.name for row in await used(reports, until=date(2026, 11, 25))] == ["2026-11-24"]


@pytest.mark.every_database
async def test_logs_that_count_the_same_row_at_once_lose_nothing(database: Database, reports: UsageReports) -> None:
    async def write(log: int) -> None:
        events = [ended(1_000 * log + n, user=f"u{(n if log % 2 else 49 - n) % 50}") for n in range(100)]
        await QueryLog(database).handle(events)

    await asyncio.gather(*map(write, range(4)))
    [row] = await used(reports)
    assert row.questions == 400
    assert {row.questions for row in await used(reports, "user")} == {8}
