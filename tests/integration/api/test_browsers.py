"""What browsers ask for: the pages for people, pages of other origins, and HEAD."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import urljoin

import httpx
import pytest
from pydantic import ValidationError

from serve_app.api import web_pages
from serve_app.api.app import create_app
from serve_app.config.args import ApiConfig
from tests.integration.api.conftest import Api

PAGE = "https://chat.example"


async def test_every_page_and_all_that_it_loads_come_from_here(api: Api) -> None:
    """Without a key, under a policy that lets a browser load nothing from elsewhere."""
    loaded, waiting = dict[str, str](), ["/", "/docs"]
    while waiting:
        path = waiting.pop()
        answer = await api.client.get(path, headers={"Authorization": ""})
        assert answer.status_code == 200, path
        loaded[path] = answer.headers["content-type"].partition(";")[0]
        if loaded[path] != "text/html":
            continue
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert not re.search("<script>|https?://|javascript:| on[a-z]+=", answer.text), "what the policy forbids"
        targets = {urljoin(path, link) for link in re.findall(r'(?:href|src)="([^"#]+)"', answer.text)}
        waiting += targets - loaded.keys()
    assert loaded == {
        "/": "text/html",
        "/docs": "text/html",
        "/docs/page.css": "text/css",
        "/docs/start.js": "text/javascript",
        "/docs/swagger-ui-bundle.js": "text/javascript",
        "/docs/swagger-ui.css": "text/css",
        "/favicon.ico": "image/vnd.microsoft.icon",
        "/openapi.json": "application/json",
        "/readyz": "application/json",
    }


async def test_the_first_page_has_the_steps_of_a_first_question(api: Api) -> None:
    page = (await api.client.get("/")).text
    assert all(part in page for part in ("/v1/query", "var/key", "rag ask", "docs/quickstart.md"))
    assert (await api.client.head("/")).status_code == 200
    assert (await api.client.post("/")).status_code == 405


async def test_without_vllm_the_page_of_routes_says_what_to_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    web_pages._folder_of_swagger_ui.cache_clear()
    monkeypatch.setattr("serve_app.api.web_pages.find_spec", lambda name: None)
    answer = await api.client.get("/docs/swagger-ui.css")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "/openapi.json" in answer.json()["detail"]
    web_pages._folder_of_swagger_ui.cache_clear()


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
    own = {"x-request-id", "traceparent"}
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
