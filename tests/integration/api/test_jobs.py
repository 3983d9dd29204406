from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from deployments.errors import Unavailable
from deployments.ingestion.base import DocumentCancelled, DocumentTask, IndexedDocument
from serve_app.api.app import create_app
from serve_app.api.routes import jobs as jobs_api
from serve_app.api.streaming import PING
from serve_app.api.streaming import event as encoded_event
from serve_app.api.streaming import events as encoded
from serve_app.services import job_progress
from serve_app.services.access import Access
from serve_app.services.container import Services
from tests.integration.api.conftest import LIMITS, Api
from tests.integration.api.test_query import events
from tests.support.waiting import BOUND_S, until

INDEXED = IndexedDocument("", "hr", 1, {})


async def accept(api: Api, *names: str) -> str:
    """The id of a job with documents of these names."""
    params = {"documents": [{"id": name, "text": name} for name in names]}
    body = {"id": "1", "command": "process_documents", "params": params}
    answer = await api.client.post("/v1/commands", json=body)
    return str(answer.json()["data"]["job_id"])


async def claim(api: Api) -> list[DocumentTask]:
    return await api.stores.jobs.queue.claim("w", lease_s=30, limit=10)


async def listed(api: Api, **params: Any) -> tuple[list[str], str | None]:
    answer = await api.client.get("/v1/jobs", params=params)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["jobs"]], answer.json()["next"]


async def test_jobs_are_listed_newest_first_and_in_pages(api: Api) -> None:
    made = [await accept(api, str(number)) for number in range(3)]
    assert await listed(api) == (made[::-1], None)
    assert await listed(api, limit=2) == ([made[2], made[1]], made[1])
    assert await listed(api, limit=2, after=made[1]) == ([made[0]], None)
    wrong = await api.client.get("/v1/jobs", params={"after": "job_0"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")
    assert (await api.client.get("/v1/jobs", params={"limit": LIMITS.max_page + 1})).status_code == 422


async def test_jobs_of_one_state_are_listed_with_their_counts(api: Api) -> None:
    done = await accept(api, "a", "b")
    a, b = await claim(api)
    await api.stores.jobs.queue.finish(a, INDEXED)
    await api.stores.jobs.queue.fail(b, "broken_document", "no text in it")
    waiting = await accept(api, "c")
    [job] = (await api.client.get("/v1/jobs", params={"state": "partial"})).json()["jobs"]
    whole = (await api.client.get(f"/v1/jobs/{done}")).json()
    assert job == {key: value for key, value in whole.items() if key not in ("documents", "bulk")} | {
        "chunks": 1,
        "chunks_done": 1,
    }
    assert job["counts"] | {"indexed": 1, "failed": 1} == job["counts"]
    assert await listed(api, state="queued") == ([waiting], None)
    assert await listed(api, state="succeeded") == ([], None)
    assert (await api.client.get("/v1/jobs", params={"state": "over"})).status_code == 422


async def test_jobs_are_listed_to_admins_and_another_tenant_s_are_not_there(api: Api) -> None:
    job = await accept(api, "a")
    [task] = await claim(api)
    await api.stores.jobs.queue.finish(task, INDEXED)
    assert (await api.client.get("/v1/jobs", headers=await api.key("query"))).status_code == 403
    assert (await api.client.get(f"/v1/jobs/{job}/events", headers=await api.key("query"))).status_code == 200
    await api.stores.tenants.ensure("other")
    theirs = await api.key("admin", "other")
    assert (await api.client.get("/v1/jobs", headers=theirs)).json() == {"jobs": [], "next": None}
    for path in (f"/v1/jobs/{job}/events", f"/v1/jobs?after={job}"):
        assert (await api.client.get(path, headers=theirs)).status_code in (404, 422)


def following(api: Api, **limits: float) -> httpx.AsyncClient:
    """A client of the API with other limits."""
    return client_of(api, api.services_with(**limits))


def client_of(api: Api, services: Services) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(services))
    return httpx.AsyncClient(transport=transport, base_url="http://rag.test", headers=api.client.headers)


async def follow(api: Api, job_id: str) -> AsyncGenerator[bytes]:
    """The job's events as the route sends them, which asks for it often."""
    quick = api.services_with(job_poll_s=0.02)
    caller = Access(await quick.tenants.active("t"), "admin", "k")
    first = await quick.jobs.summary(caller, job_id)
    return encoded(
        job_id,
        jobs_api._progress(quick, caller, first),
        heartbeat_s=0.03,
        encode=lambda message, number: encoded_event(message, jobs_api._event_id(message, number)),
    )


async def test_a_job_that_is_over_has_one_event(api: Api) -> None:
    job = await accept(api, "a")
    [task] = await claim(api)
    await api.stores.jobs.queue.finish(task, INDEXED)
    answer = await api.client.get(f"/v1/jobs/{job}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    [event] = events(answer.text)
    whole = (await api.client.get(f"/v1/jobs/{job}")).json()
    del whole["documents"], whole["bulk"]
    assert event == {"type": "complete", "event_id": "1", "chunks": 1, "chunks_done": 1, **whole}
    missing = await api.client.get("/v1/jobs/job_0/events")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_a_browser_that_has_read_to_the_end_is_told_to_stop(api: Api) -> None:
    """EventSource opens a stream again whenever it ends, with the last id that it received."""
    job = await accept(api, "a")
    [task] = await claim(api)
    path = f"/v1/jobs/{job}/events"
    async with following(api, job_poll_s=0.1, max_job_events_s=0.05) as client:
        [progress] = events((await client.get(path)).text)
        [again] = events((await client.get(path, headers={"Last-Event-ID": progress["event_id"]})).text)
    assert (progress["event_id"], again["event_id"]) == ("2", "4")
    await api.stores.jobs.queue.finish(task, INDEXED)
    last = {"Last-Event-ID": again["event_id"]}
    [complete] = events((await api.client.get(path, headers=last)).text)
    assert (complete["type"], complete["event_id"]) == ("complete", "5")
    ended = await api.client.get(path, headers={"Last-Event-ID": complete["event_id"]})
    assert (ended.status_code, ended.content) == (204, b"")
    for other in ("", "x", "-1", "9" * 40):
        assert (await api.client.get(path, headers={"Last-Event-ID": other})).status_code == 200


async def test_events_follow_a_job_to_its_end(api: Api) -> None:
    job = await accept(api, "a", "b")
    stream = await follow(api, job)

    async def told() -> tuple[str, str, str, int]:
        while (block := await anext(stream)) == PING:
            pass
        [event] = events(block.decode())
        return event["event_id"], event["type"], event["state"], event["counts"]["indexed"]

    assert await told() == ("2", "progress", "queued", 0)
    assert await anext(stream) == PING
    a, b = await claim(api)
    assert await told() == ("4", "progress", "running", 0)
    await api.stores.jobs.queue.finish(a, INDEXED)
    assert await told() == ("6", "progress", "running", 1)
    await api.stores.jobs.queue.fail(b, "broken_document", "no text in it")
    assert await told() == ("7", "complete", "partial", 1)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_stream_of_events_ends_although_the_job_does_not_and_asks_no_more_than_it_may(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await accept(api, "a")
    asked = 0
    summary = api.stores.jobs.summary

    async def counted(tenant_id: str, job_id: str) -> Any:
        nonlocal asked
        asked += 1
        return await summary(tenant_id, job_id)

    monkeypatch.setattr(api.stores.jobs, "summary", counted)
    async with following(api, max_job_events_s=0.35) as client:
        answer = await client.get(f"/v1/jobs/{job}/events")
    assert [event["type"] for event in events(answer.text)] == ["progress"]
    assert asked <= 3, "the route, the reader, and what the first look at the file found"


async def test_streams_of_a_tenant_are_bounded(api: Api) -> None:
    job = await accept(api, "a")
    await api.stores.tenants.ensure("other")
    theirs = await api.key("admin", "other")
    path = f"/v1/jobs/{job}/events"
    services = api.services_with(max_job_streams=1, max_job_events_s=BOUND_S)
    async with client_of(api, services) as client:
        open_one = asyncio.create_task(client.get(path))
        await until(lambda: bool(services.jobs.progress._streams))
        refused = await client.get(path)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert "api.max_job_streams" in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) > 0
        assert (await client.get(path, headers=theirs)).status_code == 404
        await api.stores.jobs.cancel("t", job)
        assert (await open_one).status_code == 200
        assert (await client.get(path)).status_code == 200, "the place is free again"


async def test_a_suspended_tenant_s_stream_ends(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_progress, "SAFETY_S", 0.05)
    job = await accept(api, "a")
    stream = await follow(api, job)
    assert b"progress" in await anext(stream)
    await api.stores.tenants.patch("t", suspended=True)
    told = events(b"".join([block async for block in stream]).decode())
    assert [(event["type"], event["code"]) for event in told] == [("error", "tenant_suspended")]


async def test_a_synchronous_upload_is_answered_as_soon_as_it_is_indexed(api: Api) -> None:
    body = {"id": "1", "command": "process_documents", "params": {"documents": [{"text": "a"}], "async": False}}
    waiting = asyncio.create_task(api.client.post("/v1/commands", json=body))
    while not (tasks := await claim(api)):  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.02)
    await api.stores.jobs.queue.finish(tasks[0], INDEXED)
    async with asyncio.timeout(BOUND_S):
        answer = await waiting
    assert answer.json()["data"]["state"] == "succeeded"


async def test_a_synchronous_upload_of_a_tenant_that_is_suspended_meanwhile_is_answered_as_it_stands(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_progress, "SAFETY_S", 0.05)
    body = {"id": "1", "command": "process_documents", "params": {"documents": [{"text": "a"}], "async": False}}
    waiting = asyncio.create_task(api.client.post("/v1/commands", json=body))
    while not (await api.client.get("/v1/jobs")).json()["jobs"]:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.02)
    await api.stores.tenants.patch("t", suspended=True)
    async with asyncio.timeout(BOUND_S):
        answer = await waiting
    assert answer.json()["data"]["state"] == "queued"


async def test_a_database_that_goes_away_is_the_last_event(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await accept(api, "a")
    stream = await follow(api, job)

    async def gone(tenant_id: str, job_id: str) -> Any:
        raise Unavailable("the database is busy or gone")

    monkeypatch.setattr(api.stores.jobs, "summary", gone)
    told = events(b"".join([block async for block in stream]).decode())
    assert [event["type"] for event in told] == ["progress", "error"]
    assert (told[1]["code"], told[1]["query_id"]) == ("unavailable", job)


async def test_a_reader_that_goes_away_ends_the_asking(api: Api) -> None:
    job = await accept(api, "a")
    async with aclosing(await follow(api, job)) as first:  # starts what looks at the database's file, which stays
        while await anext(first) != PING:
            pass
    before = asyncio.all_tasks()
    stream = await follow(api, job)
    assert b"progress" in await anext(stream)
    assert await anext(stream) == PING
    await stream.aclose()
    assert asyncio.all_tasks() <= before


async def test_a_job_is_cancelled_and_what_is_indexed_of_it_stays(api: Api) -> None:
    job = await accept(api, "a", "b")
    [first] = await api.stores.jobs.queue.claim("w", lease_s=30, limit=1)
    await api.stores.jobs.queue.finish(first, INDEXED)
    answer = await api.client.post(f"/v1/jobs/{job}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "partial")
    assert answer.json()["counts"]["cancelled"] == 1
    assert await claim(api) == []
    assert (await api.client.post(f"/v1/jobs/{job}/cancel")).json() == answer.json(), "twice is once"
    assert (await api.client.get(f"/v1/documents/{first.document_id}")).json()["live"]


async def test_a_job_that_a_worker_is_at_is_over_once_the_worker_notices(api: Api) -> None:
    job = await accept(api, "a")
    [task] = await claim(api)
    assert (await api.client.post(f"/v1/jobs/{job}/cancel")).json()["state"] == "running"
    with pytest.raises(DocumentCancelled):
        await api.stores.jobs.queue.progress(task, "embedding")
    await api.stores.jobs.queue.fail(task, "given_up", "")
    assert (await api.client.get(f"/v1/jobs/{job}")).json()["state"] == "cancelled"


async def test_jobs_are_cancelled_by_their_tenant_s_admins(api: Api) -> None:
    job = await accept(api, "a")
    await api.stores.tenants.ensure("other")
    for headers, status in ((await api.key("query"), 403), (await api.key("admin", "other"), 404)):
        assert (await api.client.post(f"/v1/jobs/{job}/cancel", headers=headers)).status_code == status
    assert (await api.client.get(f"/v1/jobs/{job}")).json()["state"] == "queued"
