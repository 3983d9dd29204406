"""The OpenAPI document tells the truth, and all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from jsonschema_rs import Draft202012Validator
from starlette.routing import Route

from serve_app.api import error_formats
from serve_app.api.app import create_app
from serve_app.api.errors import STATUS
from serve_app.api.openapi import HEADERS
from tests.integration.api.conftest import Api
from tests.integration.api.openapi import rehearse
from tests.integration.api.test_query import events

JSON, PROBLEM = "application/json", "application/problem+json"


@pytest.fixture
async def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = (await api.client.get("/openapi.json")).json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def resolved(document: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    found = document
    for name in given.get("$ref", "#").split("/")[1:]:
        found = found[name]
    return found if "$ref" in given else given


def valid(document: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    whole = {**schema, "components": document["components"]}
    return Draft202012Validator(whole).is_valid(value)


def test_generated_cases_find_no_defect(tmp_path: Path) -> None:
    """`make bench NAME=contract` sends 10,000 cases."""
    found = rehearse(tmp_path, examples=3, boundaries_of_commands=False)
    assert not found.defects, "\n\n".join(found.defects)
    assert found.cases > 2_000
    for role in ("platform", "admin", "query"):
        assert sum(count for (holder, status), count in found.answered.items() if holder == role and status < 300) > 30
    assert found.answered["nobody", 401] > 50


async def test_every_route_is_in_the_document(api: Api, document: dict[str, Any]) -> None:
    app = create_app(api.services)
    served = {
        (method, route.path_format) for route in app.routes if isinstance(route, APIRoute) for method in route.methods
    }
    other_names = {("GET", "/health")}
    assert {(method, path) for method, path, _ in operations(document)} == served - other_names
    others = {route.path for route in app.routes if isinstance(route, Route) and not isinstance(route, APIRoute)}
    files = {f"/docs/{name}" for name in ("page.css", "start.js", "swagger-ui.css", "swagger-ui-bundle.js")}
    assert others == {"/", "/docs", "/favicon.ico", "/openapi.json", *files}


async def test_what_the_configuration_limits_is_in_the_document(api: Api) -> None:
    limits = {
        "max_query_characters": 77, "max_top_k": 9, "max_max_tokens": 555, "max_collections": 3, "max_page": 44,
        "max_filter_bytes": 66, "max_inputs": 5, "max_files": 6,
    }  # fmt: skip
    document = create_app(api.services_with(**limits)).openapi()
    schemas = document["components"]["schemas"]

    def field(schema: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = schemas[schema]["properties"][name]
        one: dict[str, Any] = [each for each in found.get("anyOf", [found]) if each["type"] != "null"][-1]
        return one

    for name in ("QueryRequest", "SearchRequest", "Ask", "Find"):
        assert (field(name, "query")["minLength"], field(name, "query")["maxLength"]) == (1, 77)
        assert (field(name, "top_k")["minimum"], field(name, "top_k")["maximum"]) == (1, 9)
        assert field(name, "collections")["maxItems"] == 3
        assert field(name, "filter")["maxLength"] == 66
    for name, length in (
        ("QueryRequest", "max_tokens"),
        ("ChatRequest", "max_tokens"),
        ("ChatRequest", "max_completion_tokens"),
        ("ResponsesRequest", "max_output_tokens"),
        ("CompletionRequest", "max_tokens"),
    ):
        assert (field(name, length)["minimum"], field(name, length)["maximum"]) == (1, 555)
    assert field("EmbeddingsRequest", "input")["maxItems"] == field("RerankV2Request", "documents")["maxItems"] == 5
    assert field("ProcessDocuments", "documents")["maxItems"] == 6
    assert field("ListJobs", "limit")["maximum"] == 44
    pages = [
        parameter["schema"]["maximum"]
        for _, _, operation in operations(document)
        for parameter in operation["parameters"]
        if parameter.get("name") == "limit"
    ]
    assert set(pages) == {44}


async def test_numbers_have_their_ranges_in_the_words_of_json_schema(document: dict[str, Any]) -> None:
    """Pydantic leaves them in its own, where a validator stands before the number's."""
    for schema in every_schema(document["components"]["schemas"]):
        if schema.get("type") in ("integer", "number"):
            assert not {"ge", "gt", "le", "lt"} & schema.keys(), schema


def every_schema(value: Any) -> Iterator[dict[str, Any]]:
    for inside in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from every_schema(inside)
    if isinstance(value, dict):
        yield value


async def test_every_answer_has_a_schema_its_headers_and_no_header_is_made_up(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            where = f"{method} {path} {status}"
            assert "X-Request-ID" in answer["headers"], where
            assert {resolved(document, header)["schema"]["type"] for header in answer["headers"].values()}, where
            if status in ("204", "304") or (method == "HEAD" and status < "400"):
                assert "content" not in answer, where
                continue
            for content in answer["content"].values():
                assert content.get("schema") or content.get("itemSchema") or content.get("examples"), where
    assert document["components"]["headers"] == HEADERS


async def test_refusals_are_problems_with_their_codes_and_an_example_of_each(document: dict[str, Any]) -> None:
    seen = set[str]()
    for method, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status < "400" or (path == "/readyz" and status == "503"):
                continue
            where = f"{method} {path} {status}"
            error_format = error_formats.error_format_of(path)
            own = {"application/json"} if (path, status) == ("/v1/health/deep", "503") else set()
            assert {*answer["content"]} == {error_format.media_type} | own, where
            content = answer["content"][error_format.media_type]
            assert content["examples"], where
            for code, example in content["examples"].items():
                value = resolved(document, example)["value"]
                assert valid(document, content["schema"], value), where
                if error_format is error_formats.PROBLEM:
                    assert (value["code"], value["status"]) == (code, int(status)), where
                    assert not valid(document, content["schema"], value | {"code": "other"}), where
                else:
                    assert not valid(document, content["schema"], {"detail": "a problem"}), where
                seen.add(code)
            assert ("WWW-Authenticate" in answer["headers"]) is (status == "401"), where
    assert seen == {error.code for error in STATUS}


async def test_deletions_say_that_they_may_have_to_wait_for_the_index(document: dict[str, Any]) -> None:
    for path in ("/v1/documents/delete", "/v1/documents/{document_id}", "/v1/collections/{name}"):
        operation = document["paths"][path]["post" if path.endswith("/delete") else "delete"]
        assert "overloaded" in operation["responses"]["503"]["content"]["application/problem+json"]["examples"], path


async def test_examples_of_requests_fit_their_schemas(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for given in operation["parameters"]:
            parameter = resolved(document, given)
            schema = parameter["schema"]
            examples = [parameter["example"]] if "example" in parameter else schema.get("examples", ())
            for example in examples:
                assert valid(document, schema, example), f"{method} {path}: {parameter['name']}"
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for example in content.get("examples", {}).values():
                assert valid(document, content["schema"], example["value"]), f"{method} {path}"


async def test_answers_in_json_have_an_example_that_fits(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get(JSON)
            refused = status >= "400" and error_formats.error_format_of(path) is not error_formats.PROBLEM
            if content is None or path == "/v1/rpc" or refused:
                continue
            where = f"{method} {path} {status}"
            assert valid(document, content["schema"], content["example"]), where
            assert set(content["example"]) == set(resolved(document, content["schema"])["properties"]), where


async def test_routes_that_create_or_answer_tell_of_idempotency(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        names = {resolved(document, parameter)["name"] for parameter in operation["parameters"]}
        others = {"/v1/embeddings", "/v1/rerank", "/v2/rerank", "/v1/jobs/{job_id}/cancel"}
        creates = method == "POST" and path not in others
        assert ("Idempotency-Key" in names) is creates, (method, path)
        replayed = {status for status, a in operation["responses"].items() if "Idempotent-Replayed" in a["headers"]}
        assert replayed == {status for status in operation["responses"] if creates and status < "300"}
        assert "X-Request-ID" in names


@pytest.mark.parametrize("failing", [False, True])
async def test_each_event_of_a_stream_is_as_documented(api: Api, document: dict[str, Any], failing: bool) -> None:
    content = document["paths"]["/v1/query"]["post"]["responses"]["200"]["content"]["text/event-stream"]
    schema = content["itemSchema"]["properties"]["data"]["contentSchema"]
    if failing:
        api.stages.failures["ending"] = ZeroDivisionError()  # type: ignore[assignment]
    answer = await api.client.post("/v1/query", json={"query": "Koji je rok?"})
    sent = events(answer.text)
    shown = [event for example in content["examples"].values() for event in events(example["value"])]
    assert {event["type"] for event in shown} == {"sources", "chunk", "citation", "complete", "error"}
    for event in [*sent, *shown]:
        assert valid(document, schema, event), event
        assert not valid(document, schema, {key: value for key, value in event.items() if key != "query_id"})


@pytest.mark.parametrize("failing", [False, True])
async def test_each_chunk_of_a_chat_is_as_documented(api: Api, document: dict[str, Any], failing: bool) -> None:
    answers = document["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["content"]
    content = answers["text/event-stream"]
    schema = content["itemSchema"]["properties"]["data"]["anyOf"][0]["contentSchema"]
    if failing:
        api.stages.failures["ending"] = ZeroDivisionError()  # type: ignore[assignment]
    body = {"model": "rag", "messages": [{"role": "user", "content": "Koji je rok?"}]}
    told = (await api.client.post("/v1/chat/completions", json=body | {"stream": True})).text
    told += "".join(example["value"] for example in content["examples"].values())
    sent = [line.removeprefix("data: ") for line in told.splitlines() if line.startswith("data: ")]
    parsed = [json.loads(each) for each in sent if each != "[DONE]"]
    assert len(parsed) > 8
    for each in parsed:
        assert valid(document, schema, each), each
        assert not valid(document, schema, {key: value for key, value in each.items() if key not in ("id", "error")})
    if not failing:
        whole = (await api.client.post("/v1/chat/completions", json=body)).json()
        assert valid(document, answers[JSON]["schema"], whole)


async def test_a_query_s_answer_is_as_documented(api: Api, document: dict[str, Any]) -> None:
    content = document["paths"]["/v1/query"]["post"]["responses"]["200"]["content"]
    answer = (await api.client.post("/v1/query", json={"query": "Koji je rok?", "stream": False})).json()
    assert valid(document, content[JSON]["schema"], answer)
    schema = resolved(document, content[JSON]["schema"])
    assert set(answer) == set(schema["properties"]) == set(schema["required"])


TOO_DEEP = "[" * 100_000
HUGE = "9" * 5_000


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/search", '{"query":"q","\\ud800":1}'),
        ("POST", "/v1/search", f'{{"query":"q","top_k":{HUGE}}}'),
        ("POST", "/v1/search", '{"query":"q","top_k":1e400}'),
        ("POST", "/v1/query", '{"query":"q","temperature":NaN}'),
        ("POST", "/v1/query", '{"query":"q","seed":9223372036854775808}'),
        ("POST", "/v1/search", TOO_DEEP[:30_000]),
        ("POST", "/v1/search", b'{"query":"\xff"}'),
        ("POST", "/v1/documents", f'{{"text":"a","metadata":{{"n":{HUGE}}}}}'),
        ("POST", "/v1/documents", '{"text":"a","metadata":{"n":1e400}}'),
        ("POST", "/v1/documents", '{"text":"a","metadata":{"n":NaN}}'),
        ("POST", "/v1/documents", '{"text":"a","metadata":{"\\ud800":1}}'),
        ("POST", "/v1/documents", f'{{"text":"a","metadata":{{"n":{TOO_DEEP[:15_000]}{"]" * 15_000}}}}}'),
        ("POST", "/v1/tenants", '{"id":"\\ud800"}'),
        ("POST", "/v1/tenants", '{"id":"a","settings":{"limits":{"deadline_s":1e400}}}'),
        ("POST", "/v1/tenants", '{"id":"a","settings":{"limits":{"deadline_s":NaN}}}'),
        ("POST", "/v1/tenants", '{"id":"a","settings":{"prompt_preamble":"\\ud800"}}'),
        ("POST", "/v1/tenants", '{"id":"a","settings":{"prompt_preamble":"\\u0000"}}'),
        ("PATCH", "/v1/tenants/t", '{"settings":{"limits":{"deadline_s":1e400}}}'),
        ("PATCH", "/v1/tenants/t", '{"settings":{"\\ud800":1}}'),
        ("PATCH", "/v1/tenants/t", '{"settings":{"model":"\\ud800"}}'),
        ("PATCH", "/v1/tenants/t", f'{{"settings":{{"x":{TOO_DEEP[:15_000]}{"]" * 15_000}}}}}'),
        ("PATCH", "/v1/collections/default", '{"description":"\\ud800"}'),
        ("GET", "/v1/tenants?after=%00", None),
        ("GET", "/v1/tenants?limit=" + HUGE, None),
        ("GET", "/v1/collections?after=%00", None),
        ("GET", "/v1/collections/%00", None),
        ("PATCH", "/v1/collections/%00", '{"description":""}'),
        ("DELETE", "/v1/collections/%00", None),
        ("GET", "/v1/jobs/%00", None),
        ("DELETE", "/v1/keys/%00", None),
        ("POST", "/v1/keys/%00/rotate", "{}"),
        ("GET", "/v1/tenants/%00", None),
        ("PATCH", "/v1/tenants/%00", '{"suspended":true}'),
        ("DELETE", "/v1/tenants/%00", None),
        ("DELETE", "/v1/documents/%00", None),
        ("GET", "/v1/documents/%00/content", None),
        ("GET", "/v1/documents/a/content?user=%00", None),
        ("DELETE", "/v1/documents/" + "a" * 257, None),
        ("GET", "/v1/audit?limit=" + HUGE, None),
    ],
)
async def test_what_no_database_and_no_json_can_hold_is_a_refusal(
    api: Api, method: str, path: str, body: str | bytes | None
) -> None:
    headers = await api.key("platform") | {"Content-Type": JSON}
    if not path.startswith("/v1/tenants"):
        headers["X-Tenant-ID"] = "t"
    answer = await api.client.request(method, path, content=body, headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["status"] == answer.status_code


@pytest.mark.parametrize("header", [b"\x00", b"\xff", b"a" * 65, "č".encode()])
async def test_a_tenant_that_no_header_can_name_is_a_refusal(api: Api, header: bytes) -> None:
    headers = [(b"Authorization", (await api.key("platform"))["Authorization"].encode()), (b"X-Tenant-ID", header)]
    answer = await api.client.get("/v1/keys", headers=headers)
    assert answer.status_code in (404, 422), answer.text


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("TRACE", "/healthz", "GET, HEAD"),
        ("OPTIONS", "/v1/query", "POST"),
        ("PUT", "/v1/tenants/t", "DELETE, GET, HEAD, PATCH"),
        ("BREW", "/v1/collections", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/documents/d", "DELETE, GET, HEAD, PATCH"),
        ("OPTIONS", "/v1/documents/d/chunks", "GET, HEAD"),
        ("OPTIONS", "/v1/documents/d/content", "GET, HEAD"),
        ("OPTIONS", "/v1/documents/delete", "POST"),
    ],
)
async def test_another_method_is_a_problem_that_names_those_there_are(
    api: Api, method: str, path: str, allowed: str
) -> None:
    answer = await api.client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["code"] == "method_not_allowed"
    described = await api.client.get(answer.json()["type"])
    assert described.json()["status"] == 405
