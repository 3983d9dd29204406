"""Errors on the paths of other APIs have the form that their clients read, whoever makes them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from deployments.errors import Overloaded
from serve_app.api import error_formats
from serve_app.api.compatible.cohere import CohereError
from serve_app.api.compatible.openai import OpenAIError
from tests.integration.api.compatible.conftest import fits
from tests.integration.api.conftest import Api

OPENAI = ["/v1/chat/completions", "/v1/embeddings", "/v1/models", "/v1/models/org/m"]
COHERE = ["/v1/rerank", "/v2/rerank"]


@pytest.mark.parametrize(
    ("path", "error_format"),
    [
        *((path, error_formats.OPENAI) for path in [*OPENAI, "/v1/chat", "/v1/models/", "/v1/chat/other"]),
        *((path, error_formats.COHERE) for path in [*COHERE, "/v2/other", "/v2"]),
        *(
            (path, error_formats.PROBLEM)
            for path in ["/v1/query", "/v1/modelsx", "/v1", "/", "/v22", "/v1/documents/v2"]
        ),
    ],
)
def test_the_path_decides(path: str, error_format: error_formats.ErrorFormat) -> None:
    assert error_formats.of(path) is error_format


def message(answer: httpx.Response, path: str) -> str:
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    if path in COHERE or path.startswith("/v2"):
        said: str = fits(CohereError, answer.text)["message"]
        return said
    return str(fits(OpenAIError, answer.text)["error"]["message"])


def code(answer: httpx.Response) -> Any:
    return answer.json()["error"]["code"]


@pytest.mark.parametrize("path", [*OPENAI, *COHERE])
async def test_without_a_key_or_with_another(api: Api, path: str) -> None:
    method = "GET" if "models" in path else "POST"
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer rag_wrong_key"}):
        answer = await api.client.request(method, path, headers=headers, json={})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert "key" in message(answer, path)
        if path in OPENAI:
            assert code(answer) == "invalid_api_key"
    answer = await api.client.request(method, path, headers=await api.key("query") | {"X-Tenant-ID": "other"})
    assert answer.status_code == 403
    assert "its own tenant" in message(answer, path)
    answer = await api.client.request(method, path, headers=await api.key("platform"))
    assert (answer.status_code, "X-Tenant-ID" in message(answer, path)) == (400, True)
    answer = await api.client.request(method, path, headers=await api.key("platform") | {"X-Tenant-ID": "nobody"})
    assert answer.status_code == 404
    assert "nobody" in message(answer, path)


@pytest.mark.parametrize("path", [*OPENAI, *COHERE])
async def test_another_method(api: Api, path: str) -> None:
    answer = await api.client.delete(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET" if "models" in path else "POST")
    assert path in message(answer, path)
    if path in OPENAI:
        assert code(answer) == "method_not_allowed"


@pytest.mark.parametrize("path", ["/v1/chat", "/v2/embed"])
async def test_a_path_that_is_not_there(api: Api, path: str) -> None:
    answer = await api.client.get(path)
    assert answer.status_code == 404
    message(answer, path)


@pytest.mark.parametrize("path", [path for path in [*OPENAI, *COHERE] if "models" not in path])
async def test_a_body_that_is_too_large_or_no_json(api: Api, path: str) -> None:
    answer = await api.client.post(path, content=b"a" * 5_000_000)
    assert answer.status_code == 413
    message(answer, path)
    for body in (b'{"model":', b'{"model":"\xff"}', b"", b"[1]"):
        answer = await api.client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        message(answer, path)


async def test_what_may_succeed_later_says_when(api: Api) -> None:
    for stage in ("embedding", "reranking", "generation"):
        api.stages.failures[stage] = Overloaded("there is no room; try again")
    chat = {"model": "none", "messages": [{"role": "user", "content": "a"}]}
    for path, body in {
        "/v1/chat/completions": chat,
        "/v1/embeddings": {"model": "org/embedder", "input": "a"},
        "/v1/rerank": {"query": "q", "documents": ["a"]},
        "/v2/rerank": {"model": "org/reranker", "query": "q", "documents": ["a"]},
    }.items():
        answer = await api.client.post(path, json=body)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert "no room" in message(answer, path)
        if path in OPENAI:
            assert (answer.json()["error"]["type"], code(answer)) == ("server_error", "overloaded")


def test_too_many_requests_are_told_in_openai_s_words() -> None:
    told = error_formats.OPENAI.body({"status": 429, "detail": "wait", "code": "rate_limited"}, None)
    assert told == {
        "error": {
            "message": "wait", "type": "rate_limit_exceeded", "param": None, "code": "rate_limit_exceeded",
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("detail", "field"),
    [
        ("top_k is 51; at most 50 is allowed", "top_k"),
        ("messages has 9000 characters; at most 8000 are allowed", "messages"),
        ("input[3] has 9 characters; at most 8 are allowed", "input"),
        ("collections: there is no 'x'", "collections"),
        ("collections names 51; at most 50 are allowed", "collections"),
        ("filter: unexpected end at character 17", "filter"),
        ("generation: vLLM refused the request", None),
        ("the prompt has 9 tokens", None),
        ("tenant 'acme' is suspended", None),
    ],
)
def test_the_field_is_what_a_refusal_begins_with(detail: str, field: str | None) -> None:
    problem = {"status": 422, "detail": detail, "code": "invalid_request"}
    assert error_formats.OPENAI.body(problem, None)["error"]["param"] == field
    assert error_formats.OPENAI.body(problem, "other.0")["error"]["param"] == "other.0"
