"""Rates and slots over HTTP: what is refused, with which code and headers, and that nothing was done for it."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.edge.refusal_cache import RefusalCache
from deployments.errors import StageUnavailable
from deployments.generation.config import GenerationConfig
from serve_app.admission.config import AdmissionConfig
from serve_app.admission.protocol import AdmissionLimits
from serve_app.api.app import create_app
from serve_app.api.refusals import HEADER
from serve_app.query.deadline import Deadline
from serve_app.query.fallback import Extractive
from tests.integration.api.conftest import Api, serving

ASK = {"query": "Koji je rok?", "stream": False}


async def limit(api: Api, **limits: Any) -> None:
    platform = await api.key("platform")
    settings = {"settings": {"limits": limits}}
    changed = await api.client.patch("/v1/tenants/t", json=settings, headers=platform)
    assert changed.status_code == 200, changed.text


async def until_waiting(api: Api) -> None:
    async with asyncio.timeout(60):
        while api.admission.waiting != 1:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


async def fill(api: Api, tenant: str = "t") -> list[Any]:
    """Take every slot."""
    admission = api.admission
    return [await admission.acquire_slot(tenant, AdmissionLimits(), Deadline(5)) for _ in range(64 - admission.running)]


async def test_a_tenant_without_a_rate_hears_nothing_of_one(api: Api) -> None:
    answer = await api.client.post("/v1/query", json=ASK)
    assert answer.status_code == 200
    assert "ratelimit" not in answer.headers


async def test_each_question_tells_what_is_left(api: Api) -> None:
    await limit(api, requests_per_minute=60)
    answers = [
        await api.client.post("/v1/query", json=ASK),
        await api.client.post("/v1/search", json={"query": "rok"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.headers["ratelimit"] for answer in answers] == ['"requests";r=59;t=1', '"requests";r=58;t=2']
    assert answers[0].headers["ratelimit-policy"] == '"requests";q=60;w=60'


async def test_a_tenants_rate_replaces_the_services_and_may_be_wider(api: Api) -> None:
    api.admission.config = AdmissionConfig(requests_per_minute=2)
    asked = [await api.client.post("/v1/search", json={"query": "rok"})]
    await limit(api, requests_per_minute=60)
    asked.append(await api.client.post("/v1/search", json={"query": "rok"}))
    assert [answer.headers["ratelimit-policy"] for answer in asked] == ['"requests";q=2;w=60', '"requests";q=60;w=60']


async def test_over_the_rate_is_429_before_anything_is_done(api: Api) -> None:
    await limit(api, requests_per_minute=1)  # a slice is one request
    assert (await api.client.post("/v1/query", json=ASK)).status_code == 200
    asked = [*api.stages.asked]
    refused = await api.client.post("/v1/query", json=ASK)
    assert (refused.status_code, refused.json()["code"], refused.json()["retryable"]) == (429, "rate_limited", True)
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit"].startswith('"requests";r=')
    assert api.stages.asked == asked
    assert (await api.client.get("/v1/collections")).status_code == 200  # only questions count


async def test_commands_count_as_routes_do(api: Api) -> None:
    await limit(api, requests_per_minute=1)
    command = {"id": "1", "command": "search", "params": {"query": "rok"}}
    assert json.loads((await api.client.post("/v1/commands", json=command)).text)["type"] == "result"
    refused = json.loads((await api.client.post("/v1/commands", json=command)).text)
    assert (refused["type"], refused["code"], refused["retryable"]) == ("error", "rate_limited", True)
    streamed = {"id": "2", "command": "query", "params": {"query": "rok"}}
    assert (await api.client.post("/v1/commands", json=streamed)).status_code == 429
    call = {"jsonrpc": "2.0", "id": 1, "method": "search", "params": {"query": "rok"}}
    error = (await api.client.post("/v1/rpc", json=call)).json()["error"]
    assert (error["data"]["code"], error["data"]["status"]) == ("rate_limited", 429)


async def test_a_platform_key_spends_the_rate_of_the_tenant_it_names(api: Api) -> None:
    await limit(api, requests_per_minute=1)
    platform = {**await api.key("platform"), "X-Tenant-ID": "t"}
    assert (await api.client.post("/v1/search", json={"query": "rok"}, headers=platform)).status_code == 200
    assert (await api.client.post("/v1/search", json={"query": "rok"})).status_code == 429


async def test_another_tenants_rate_is_its_own(api: Api) -> None:
    await limit(api, requests_per_minute=1)
    await api.stores.tenants.ensure("other")
    other = await api.key("query", "other")
    assert [
        (await api.client.post("/v1/search", json={"query": "rok"}, headers=headers)).status_code
        for headers in ({}, {}, other, other)
    ] == [200, 429, 200, 200]


async def test_too_much_at_once_is_503_and_nothing_was_begun(api: Api) -> None:
    held = await fill(api)
    limits = {"X-Deadline-Ms": "50"}
    refused = await api.client.post("/v1/query", json=ASK, headers=limits)
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert api.stages.asked == []
    del held


async def test_too_much_at_once_leaves_quotations_where_those_may_take_an_answer_s_place(tmp_path: Path) -> None:
    async with serving(tmp_path, fallback=Extractive(GenerationConfig())) as api:
        held = await fill(api)
        hurried = {"X-Deadline-Ms": "2000"}
        answer = await api.client.post("/v1/query", json=ASK, headers=hurried)
        assert (answer.status_code, answer.json()["engine"]) == (200, "extractive")
        assert answer.json()["degraded"] == ["generation"]
        assert "generation" not in api.stages.asked
        chat = {"model": "rag", "messages": [{"role": "user", "content": ASK["query"]}]}
        assert (await api.client.post("/v1/chat/completions", json=chat, headers=hurried)).status_code == 200
        listed = (await api.client.get("/v1/models")).json()["data"]
        model = next(each["id"] for each in listed if each["id"] != "rag")
        raw = await api.client.post("/v1/chat/completions", json=chat | {"model": model}, headers=hurried)
        assert raw.status_code == 503
        del held


async def test_a_question_waits_for_its_place_and_is_then_answered(api: Api) -> None:
    held = await fill(api)
    asking = asyncio.create_task(api.client.post("/v1/query", json=ASK))
    await until_waiting(api)
    assert api.stages.asked == []
    held.pop().release(answered=False)
    assert (await asking).status_code == 200
    assert api.admission.running == 63


async def test_the_wait_is_part_of_the_deadline(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("serve_app.services.queries.Deadline", partial(Deadline, clock=lambda: now_s))
    held = await fill(api)
    api.stages.delays["retrieval"] = 10
    asking = asyncio.create_task(api.client.post("/v1/query", json=ASK, headers={"X-Deadline-Ms": "60000"}))
    await until_waiting(api)
    now_s = 59  # of a minute; retrieval would fit into it, but not into the second that is left
    held.pop().release(answered=False)
    answer = await asking
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert answer.json()["detail"].startswith("retrieval did not finish")


async def test_places_are_free_again_however_an_answer_ends(api: Api) -> None:
    await api.client.post("/v1/query", json=ASK)
    await api.client.post("/v1/query", json={"query": "rok"})
    api.stages.failures["retrieval"] = StageUnavailable("gone")
    assert (await api.client.post("/v1/query", json=ASK)).status_code == 503
    await api.client.post("/v1/query", json={"query": "rok"})
    assert api.admission.running == 0


async def test_searches_need_no_place(api: Api) -> None:
    held = await fill(api)
    assert (await api.client.post("/v1/search", json={"query": "rok"})).status_code == 200
    del held


async def test_a_tenants_weight_and_limits_come_from_its_settings(api: Api) -> None:
    await limit(api, concurrent=1)
    api.stages.delays["generation"] = 0.2
    first, second = await asyncio.gather(*(api.client.post("/v1/query", json=ASK) for _ in range(2)))
    assert (first.status_code, second.status_code) == (200, 200)
    assert api.stages.asked.count("generation") == 2
    order = [stage for stage in api.stages.asked if stage in ("embedding", "generation")]
    assert order == ["embedding", "generation", "embedding", "generation"]  # one after the other


def behind_the_edge(api: Api) -> httpx.AsyncClient:
    """A client of the application behind the edge's cache of refusals."""
    transport = httpx.ASGITransport(RefusalCache(create_app(api.services)))
    return httpx.AsyncClient(transport=transport, base_url="http://rag.test", headers=api.client.headers)


async def test_the_edge_repeats_the_refusal_of_a_question_to_its_caller_alone(api: Api) -> None:
    await limit(api, requests_per_minute=1)
    async with behind_the_edge(api) as client:
        answers = [await client.post("/v1/search", json={"query": "rok"}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 429, 429]
        assert "ratelimit" in answers[1].headers
        assert not any(HEADER.lower() in answer.headers for answer in answers)
        assert (await client.post("/v1/query", json=ASK, headers=await api.key())).status_code == 429
        assert (await client.get("/v1/collections")).status_code == 200


async def test_a_refused_command_refuses_neither_other_tenants_nor_cancels_and_deletions(api: Api) -> None:
    await limit(api, requests_per_minute=1)
    await api.stores.tenants.ensure("other")
    streamed = {"id": "1", "command": "query", "params": {"tenant": "t", "query": "rok"}}
    others = {"id": "2", "command": "query", "params": {"tenant": "other", "query": "rok", "stream": False}}
    cancel = {"id": "3", "command": "cancel_query", "params": {"tenant": "t", "query_id": "0" * 32}}
    delete = {"id": "4", "command": "delete_document", "params": {"tenant": "t", "document_id": "d"}}
    async with behind_the_edge(api) as client:
        client.headers.update(await api.key("platform"))
        for status in (200, 429):
            assert (await client.post("/v1/commands", json=streamed)).status_code == status
        for command in (others, cancel, delete):
            answer = await client.post("/v1/commands", json=command)
            assert answer.status_code == 200, (command, answer.text)


async def test_the_wait_for_a_slot_is_a_stage_and_counts_in_the_times_of_the_answer(api: Api) -> None:
    slots = await fill(api)
    asking = asyncio.create_task(api.client.post("/v1/query", json=ASK))
    await until_waiting(api)
    await asyncio.sleep(0.05)
    for slot in slots:
        slot.release(answered=False)
    timings = (await asking).json()["timings"]
    assert next(iter(timings)) == "slot"
    assert 50 <= timings["slot"] <= timings["sources"] <= timings["first_token"] <= timings["total"]
