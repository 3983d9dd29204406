"""What browsers ask for: pages of other origins, and HEAD."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import ValidationError

from serve_app.api.app import create_app
from serve_app.config.args import ApiConfig
from tests.integration.api.conftest import Api

PAGE = "https://chat.example"


@pytest.fixture
async def shared(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """The API where pages of PAGE may call it."""
    app = create_app(api.services_with(cors_origins=(PAGE,)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://rag.test", headers=api.client.headers) as made:
        yield made


def preflight(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
    }


async def test_a_page_of_an_allowed_origin_may_ask_and_read_the_answer(shared: httpx.AsyncClient) -> None:
    allowed = await shared.options("/v1/query", headers=preflight(PAGE) | {"Authorization": ""})
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, PAGE)
    assert "x-stainless-os" in allowed.headers["access-control-allow-headers"]
    for body in ({"query": "q"}, {"query": ""}):
        answer = await shared.post("/v1/query", json=body, headers={"Origin": PAGE})
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["access-control-expose-headers"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_of_another_origin_may_not(shared: httpx.AsyncClient) -> None:
    for other in ("https://evil.example", "https://chat.example.evil.example", "null"):
        assert (await shared.options("/v1/query", headers=preflight(other))).status_code == 400
        answer = await shared.post("/v1/query", json={"query": "q"}, headers={"Origin": other})
        assert "access-control-allow-origin" not in answer.headers


async def test_by_default_no_page_may(api: Api) -> None:
    assert (await api.client.options("/v1/query", headers=preflight(PAGE))).status_code == 405
    answer = await api.client.post("/v1/query", json={"query": "q"}, headers={"Origin": PAGE})
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("origin", ["*", "chat.example", "https://chat.example/", "https://*.example"])
def test_an_origin_is_a_scheme_and_a_host(origin: str) -> None:
    with pytest.raises(ValidationError):
        ApiConfig(cors_origins=(origin,))


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/documents", "/v1/models", "/openapi.json", "/v1/jobs/x"])
async def test_head_is_get_without_the_body(api: Api, path: str) -> None:
    got, head = await api.client.get(path), await api.client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    own = {"x-request-id"}
    assert {name: head.headers[name] for name in head.headers if name not in own | {"content-length"}} == {
        name: got.headers[name] for name in got.headers if name not in own | {"content-length"}
    }


async def test_head_of_a_stream_ends(api: Api) -> None:
    accepted = await api.client.post("/v1/documents", json={"id": "a", "text": "a"})
    head = await api.client.head(f"{accepted.headers['location']}/events")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")


async def test_head_needs_a_key_and_a_route_with_get(api: Api) -> None:
    assert (await api.client.head("/v1/documents", headers={"Authorization": ""})).status_code == 401
    assert (await api.client.head("/v1/query")).status_code == 405
    assert (await api.client.head("/v1/none")).status_code == 404
