"""What a tenant is shown of its questions, and of what they used."""

from __future__ import annotations

import csv
from typing import Any

import pytest

from deployments.errors import StageUnavailable
from serve_app.storage.declarative import utc_now
from tests.integration.api.conftest import LIMITS, Api

QUESTION: dict[str, Any] = {"query": "Koji je rok za žalbu?", "user": "ana"}


async def ask(api: Api, stream: bool = False, **question: Any) -> str:
    """The id of a query that has ended and is logged."""
    answer = await api.client.post("/v1/query", json={**QUESTION, "stream": stream, **question})
    await api.stores.events.drain()
    return str(answer.headers.get("X-Query-ID", ""))


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_found_in_the_log_by_its_id(api: Api, stream: bool) -> None:
    key = await api.key("query")
    sent = {**QUESTION, "stream": stream}
    answer = await api.client.post("/v1/query", json=sent, headers=key | {"X-Request-ID": "mine"})
    await api.stores.events.drain()
    query_id = answer.headers["X-Query-ID"]
    found = await api.client.get(f"/v1/queries/{query_id}", headers=key)
    assert found.status_code == 200, found.text
    logged = found.json()
    assert (logged["query_id"], logged["outcome"], logged["user"]) == (query_id, "stop", "ana")
    assert logged["request_id"] == "mine"
    assert logged["trace_id"] == answer.headers["traceparent"].split("-")[1]
    keys = (await api.client.get("/v1/keys")).json()["keys"]
    assert logged["key_id"] in {each["id"] for each in keys if each["role"] == "query"}
    assert {"embedding", "retrieval", "first_token", "total"} <= logged["timings"].keys()
    assert "rok" not in found.text


async def test_an_id_that_is_not_there_is_404(api: Api) -> None:
    assert (await api.client.get(f"/v1/queries/{'0' * 32}")).json()["code"] == "not_found"
    assert (await api.client.get("/v1/queries/zzz")).status_code == 422


async def test_questions_are_listed_newest_first_and_chosen(api: Api) -> None:
    first, second = await ask(api), await ask(api, user=None)
    api.stages.failures["retrieval"] = StageUnavailable("retrieval is away")
    await ask(api, user="iva")

    async def listed(**chosen: Any) -> list[str]:
        answer = await api.client.get("/v1/queries", params=chosen)
        assert answer.status_code == 200, answer.text
        return [each["query_id"] for each in answer.json()["queries"]]

    everything = await listed()
    assert everything[1:] == [second, first]
    assert await listed(user="ana") == [first]
    assert await listed(user="") == [second]
    assert await listed(outcome="stage_unavailable") == everything[:1]
    assert await listed(key="key_x") == []
    assert await listed(until="2026-01-01T00:00:00Z") == []
    page = (await api.client.get("/v1/queries", params={"limit": 2})).json()
    assert await listed(after=page["next"]) == [first]
    for wrong in ({"since": "yesterday"}, {"since": "2026-01-01T00:00:00"}, {"limit": LIMITS.max_page + 1}):
        assert (await api.client.get("/v1/queries", params=wrong)).status_code == 422, wrong


async def test_usage_is_told_as_json_and_as_csv(api: Api) -> None:
    await ask(api)
    await ask(api, user=None)
    today = utc_now().date().isoformat()
    usage = (await api.client.get("/v1/usage")).json()
    [row] = usage["used"]
    assert (row["name"], row["questions"], row["failed"], row["cancelled"]) == (today, 2, 0, 0)
    assert row["prompt_tokens"] > 0
    assert row["completion_tokens"] > 0
    assert usage["stored"] == {"documents": 0, "bytes": 0}
    written = await api.client.get("/v1/usage", params={"format": "csv", "by": "user", "limit": 1})
    assert written.headers["content-type"] == "text/csv; charset=utf-8"
    head, *lines = csv.reader(written.text.splitlines())
    assert head[:2] == ["user", "questions"]
    assert [line[:2] for line in lines] == [["", "1"], ["ana", "1"]]
    assert (await api.client.get("/v1/usage", params={"until": today})).json()["used"] == []
    for wrong in ({"by": "colour"}, {"after": "x"}, {"after": "x", "format": "csv"}):
        assert (await api.client.get("/v1/usage", params=wrong)).status_code == 422, wrong


async def test_rows_of_usage_come_in_pages(api: Api) -> None:
    for user in ("u1", "u2", "u3"):
        await ask(api, user=user)
    names, after = list[str](), ""
    while True:
        page = (await api.client.get("/v1/usage", params={"by": "user", "limit": 2, "after": after})).json()
        names += [row["name"] for row in page["used"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert names == ["u1", "u2", "u3"]
