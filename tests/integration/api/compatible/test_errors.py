"""Errors on the paths of other APIs have the form that their clients read, wherever they arise."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from deployments.errors import Overloaded
from serve_app.api.compatible.cohere import COHERE_ERRORS, CohereError
from serve_app.api.compatible.openai import OPENAI_ERRORS, OpenAIError
from serve_app.api.error_formats import PROBLEM, ErrorFormat, error_format_of
from tests.integration.api.compatible.conftest import fits
from tests.integration.api.conftest import Api

OPENAI = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/models",
    "/v1/models/org/m",
]
COHERE = ["/v1/rerank", "/v2/rerank"]


@pytest.mark.parametrize(
    ("path", "error_format"),
    [
        *((path, OPENAI_ERRORS) for path in [*OPENAI, "/v1/chat", "/v1/models/", "/v1/chat/other"]),
        *((path, COHERE_ERRORS) for path in [*COHERE, "/v2/other", "/v2"]),
        *((path, PROBLEM) for path in ["/v1/query", "/v1/modelsx", "/v1", "/", "/v22", "/v1/documents/v2"]),
    ],
)
def test_the_path_decides(path: str, error_format: ErrorFormat) -> None:
    assert error_format_of(path) is error_format


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
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD" if "models" in path else "POST")
    assert path in message(answer, path)
    if path in OPENAI:
        assert code(answer) == "method_not_allowed"


@pytest.mark.parametrize("path", ["/v1/chat", "/v2/embed"])
async def test_a_path_that_is_not_there(api: Api, path: str) -> None:
    answer = await api.client.get(path)
    assert answer.status_code == 404
    assert "GET /openapi.json" in message(answer, path)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/audio/speech", None),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/v1/v1/embeddings", "/v1/embeddings"),
        ("/v1/document", "/v1/documents"),
    ],
)
async def test_a_client_of_openai_s_can_read_that_a_path_is_not_there(api: Api, path: str, meant: str | None) -> None:
    answer = await api.client.post(path, json={})
    hint = f"did you mean {meant}?" if meant else "GET /openapi.json lists all paths"
    assert (answer.status_code, code(answer)) == (404, "not_found")
    assert message(answer, path) == f"there is no path {path!r} here; {hint}"


@pytest.mark.parametrize("path", ["/v1/responses/resp_1", "/v1/responses/resp_1/cancel", "/v1/chat/completions/c1"])
async def test_where_openai_keeps_answers_it_says_that_none_are_kept(api: Api, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = await api.client.request(method, path)
        assert (answer.status_code, code(answer)) == (404, "not_found")
        assert message(answer, path).endswith(
            "here; answers are not kept. DELETE /v1/query/{query_id} stops one that is under way"
        )
    assert "did you mean /v1/responses?" in message(await api.client.get("/v1/responses/"), path)


async def test_a_path_without_its_version_is_a_problem_with_a_hint(api: Api) -> None:
    answer = await api.client.post("/chat/completions", json={})
    assert answer.headers["content-type"] == "application/problem+json"
    assert "did you mean /v1/chat/completions?" in answer.json()["detail"]


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
    told = OPENAI_ERRORS.body({"status": 429, "detail": "wait", "code": "rate_limited"}, None)
    assert told == {
        "error": {
            "message": "wait", "type": "rate_limit_exceeded", "param": None, "code": "rate_limit_exceeded",
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/chat/completions", {"top_k": 51}, "top_k"),
        ("/v1/chat/completions", {"max_tokens": 4_097}, "max_tokens"),
        ("/v1/chat/completions", {"max_completion_tokens": 4_097}, "max_completion_tokens"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a" * 8_001}]}, "messages"),
        ("/v1/chat/completions", {"collections": ["x"]}, "collections"),
        ("/v1/chat/completions", {"collections": ["x"] * 51}, "collections"),
        ("/v1/chat/completions", {"filter": "metadata.year >"}, "filter"),
        ("/v1/chat/completions", {"filter": "metadata.year < true"}, "filter"),
        ("/v1/chat/completions", {"model": "nobody"}, "model"),
        ("/v1/chat/completions", {"stop": ["a", 1]}, "stop.1"),
        ("/v1/embeddings", {"input": ["a", "a" * 100_001]}, "input"),
        ("/v1/embeddings", {"dimensions": 5}, "dimensions"),
    ],
)
async def test_a_refusal_of_a_field_s_value_names_the_field(
    api: Api, path: str, body: dict[str, Any], field: str
) -> None:
    valid: dict[str, Any] = {"model": "org/embedder", "input": "a"}
    if path == "/v1/chat/completions":
        valid = {"model": "rag", "messages": [{"role": "user", "content": "a"}]}
    answer = await api.client.post(path, json=valid | body)
    assert answer.json()["error"]["param"] == field


async def test_other_refusals_name_no_field(api: Api) -> None:
    answer = await api.client.get("/v1/models", headers=await api.key("platform"))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, None)
