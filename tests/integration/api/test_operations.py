from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from deployments import errors
from deployments.telemetry.logs import LOG_FIELDS, REQUEST_LOG
from deployments.telemetry.metrics import (
    FAILED_REQUESTS,
    MAX_LABEL_SETS,
    QUESTIONS,
    REFUSALS,
    REQUEST_SECONDS,
    REQUESTS,
)
from deployments.types import StageStatus
from serve_app.api.app import create_app
from serve_app.api.errors import ERROR_CODE, STATUS
from serve_app.api.request_records import RequestRecords
from serve_app.storage.declarative import PLATFORM
from tests.integration.api.conftest import Api
from tests.support.recorder import RecordedLabelSets

CHECKED = ("database", "embedding", "retrieval", "reranking", "generation")
"""By `/v1/health/deep`."""


async def test_readiness_says_what_serves_each_stage(api: Api) -> None:
    api.statuses["generation"] = [StageStatus(True, "extractive"), StageStatus(True, "extractive")]
    answer = await api.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["ready"] is True
    assert answer.json()["stages"]["generation"] == {
        "ready": True, "engine": "extractive", "model": None, "replicas": 2, "detail": None,
    }  # fmt: skip


@pytest.mark.parametrize("replicas", [[], [StageStatus(False, "embedded", detail="waits for the folder's lock")]])
async def test_one_stage_that_is_not_ready_is_503(api: Api, replicas: list[StageStatus]) -> None:
    api.statuses["retrieval"] = replicas
    answer = await api.client.get("/readyz")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert answer.json()["stages"]["retrieval"]["ready"] is False
    assert answer.json()["stages"]["embedding"]["ready"] is True


async def test_alive_and_openapi_need_no_key(api: Api) -> None:
    for path in ("/healthz", "/health", "/openapi.json", "/docs"):
        assert (await api.client.get(path, headers={"Authorization": ""})).status_code == 200


async def test_a_question_that_nobody_asked_says_how_each_stage_does(api: Api) -> None:
    answer = await api.client.get("/v1/health/deep", headers=await api.key("platform"))
    assert (answer.status_code, answer.json()["healthy"]) == (200, True)
    assert {name for name, stage in answer.json()["stages"].items() if stage["healthy"]} == {*CHECKED}
    assert (api.stages.retrievals[0].scope.tenant_id, api.stages.requests[0].tenant_id) == (PLATFORM, PLATFORM)
    assert api.recorder.of(QUESTIONS) == []
    assert (await api.client.get("/v1/health/deep", headers=await api.key("admin"))).status_code == 403


@pytest.mark.parametrize("stage", CHECKED)
@pytest.mark.parametrize("error", [errors.StageUnavailable("is away"), ValueError("secret"), None])
async def test_a_stage_that_does_not_answer_makes_it_503_and_the_others_are_asked(
    api: Api, stage: str, error: errors.RagError | None
) -> None:
    name = {"database": "visibility"}.get(stage, stage)
    if error is None:
        api.stages.delays[name] = 60
        api = replace(api, services=api.services_with(first_token_s=0.2))
    else:
        api.stages.failures[name] = error
    found = (await api.services.ask_canary()).as_json()
    assert found["healthy"] is False
    assert {name for name, check in found["stages"].items() if not check["healthy"]} == {stage}
    failed = found["stages"][stage]
    code = getattr(error, "code", "internal_error") if error is not None else "deadline_exceeded"
    assert (failed["error"], "secret" in failed["detail"]) == (code, False)
    if error is not None:
        answer = await api.client.get("/v1/health/deep", headers=await api.key("platform"))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")


async def test_calls_at_once_share_one_question(api: Api) -> None:
    headers = await api.key("platform")
    await asyncio.gather(*(api.client.get("/v1/health/deep", headers=headers) for _ in range(8)))
    assert len(api.stages.requests) == 1


async def test_metrics_are_for_the_platform(api: Api) -> None:
    answer = await api.client.get("/metrics", headers=await api.key("platform"))
    assert (answer.status_code, answer.text) == (200, "ray_rag_questions_total 1.0\n")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert (await api.client.get("/metrics", headers=await api.key("admin"))).status_code == 403
    assert (await api.client.get("/metrics", headers={"Authorization": ""})).status_code == 401


async def test_requests_are_counted_by_route_and_refusals_by_code(api: Api) -> None:
    await api.client.get("/v1/documents/one")
    await api.client.get("/v1/nothing/of/the/sort")
    await api.client.post("/v1/query", json={"query": "q"})
    await api.client.get("/v1/jobs", headers={"Authorization": "Bearer wrong"})
    assert [labels["status"] for labels, _ in api.recorder.of(REQUESTS)] == ["404", "404", "200", "401"]
    assert [labels for labels, _ in api.recorder.of(REQUEST_SECONDS)] == [
        {"route": "/v1/documents/{document_id}", "method": "GET"},
        {"route": "none", "method": "none"},
        {"route": "/v1/query", "method": "POST"},
        {"route": "none", "method": "none"},
    ]
    assert api.recorder.of(FAILED_REQUESTS) == []
    assert [labels["code"] for labels, _ in api.recorder.of(REFUSALS)] == ["not_found", "not_found", "unauthenticated"]
    assert all(0 < value < 60 for _, value in api.recorder.of(REQUEST_SECONDS))


async def test_requests_that_fail_are_counted_by_route(api: Api) -> None:
    api.stages.failures["retrieval"] = errors.StageUnavailable("retrieval is away")
    await api.client.post("/v1/query", json={"query": "q"})
    await api.client.get("/v1/jobs")
    assert api.recorder.of(FAILED_REQUESTS) == [({"route": "/v1/query", "method": "POST"}, 1)]


async def test_every_route_with_every_status_makes_few_series(api: Api) -> None:
    recorder = RecordedLabelSets()
    app = create_app(api.services)
    routes = [(route, method) for route in app.routes if isinstance(route, Route) for method in route.methods or ()]
    statuses = {*STATUS.values(), *range(200, 206), *range(300, 309), 405, 499}

    async def unused() -> Message:
        raise AssertionError

    async def dropped(_: Message) -> None: ...

    for route, method in routes:
        for status in statuses:

            async def answering(
                scope: Scope, receive: Receive, send: Send, route: Route = route, status: int = status
            ) -> None:
                scope["route"], scope[ERROR_CODE] = route, "not_found" if status >= 400 else None
                await send({"type": "http.response.start", "status": status, "headers": []})

            scope = {"type": "http", "method": method, "path": "/", "headers": []}
            await RequestRecords(answering, recorder)(scope, unused, dropped)
    assert len(recorder.of[REQUESTS]) == len(statuses)
    assert len(recorder.of[FAILED_REQUESTS]) == len(recorder.of[REQUEST_SECONDS]) == len(routes)
    assert max(map(len, recorder.of.values())) <= MAX_LABEL_SETS


def every(error: type[errors.RagError]) -> set[type[errors.RagError]]:
    return {error}.union(*(every(child) for child in error.__subclasses__()))


def test_every_error_has_a_status_and_a_code_of_its_own() -> None:
    assert set(STATUS) == every(errors.RagError)
    assert len({error.code for error in STATUS}) == len(STATUS)
    not_now = (errors.RequestInProgress, errors.RateLimited)
    retried = {error for error in STATUS if STATUS[error] >= 500 or error in not_now}
    assert retried == {error for error in STATUS if error.retryable or error is errors.RagError}


async def test_a_problem_s_type_can_be_looked_up(api: Api) -> None:
    problem = (await api.client.get("/v1/jobs/none")).json()
    described = await api.client.get(problem["type"])
    assert described.json() == {"code": "not_found", "title": "Not found", "status": 404, "retryable": False}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/v1/query", 405)])
async def test_unknown_routes_are_problems_too(api: Api, method: str, path: str, status: int) -> None:
    answer = await api.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unexpected_error_counts_as_such(api: Api, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(*_: object, **__: object) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(type(api.stores.query_log), "page", breaks)
    assert (await api.client.get("/v1/queries")).status_code == 500
    assert [labels["status"] for labels, _ in api.recorder.of(REQUESTS)] == ["500"]
    assert [labels for labels, _ in api.recorder.of(REFUSALS)] == [{"code": "internal_error"}]
    [line] = lines.records
    assert (line.http_status, line.error) == (500, "internal_error")  # type: ignore[attr-defined]


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What is logged of requests. Serve's logger, above this one, may keep it from the root's handlers."""
    logger, handler = logging.getLogger(REQUEST_LOG), Lines()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


async def test_each_request_is_one_line_with_its_ids(api: Api, lines: Lines) -> None:
    asked = await api.client.post("/v1/query", json={"query": "Tajni rok?"}, headers={"X-Request-ID": "mine"})
    named = await api.key("platform") | {"X-Tenant-ID": "t"}
    await api.client.get("/v1/documents/tajna", headers=named)
    await api.client.get("/v1/jobs", headers={"Authorization": "Bearer wrong", "X-Request-ID": "third"})
    answered, missing, refused = (
        {name: value for name, value in vars(record).items() if name in LOG_FIELDS} for record in lines.records
    )
    assert answered.pop("milliseconds") > 0
    assert answered.pop("key_id").startswith("key_")
    assert answered.pop("trace_id") == asked.headers["traceparent"].split("-")[1]
    assert answered == {
        "http_route": "/v1/query",
        "http_method": "POST",
        "http_status": 200,
        "rag_request_id": "mine",
        "query_id": asked.headers["X-Query-ID"],
        "tenant": "t",
    }
    assert (missing["http_status"], missing["tenant"], missing["error"]) == (404, "t", "not_found")
    of_all = {"http_route", "http_method", "http_status", "milliseconds", "rag_request_id", "trace_id"}
    assert refused.keys() == {*of_all, "error"}
    assert all(record.levelno == logging.INFO and not record.log_to_stderr for record in lines.records)  # type: ignore[attr-defined]
    text = "\n".join(record.getMessage() for record in lines.records)
    assert f"http_status=200 milliseconds={lines.records[0].milliseconds}" in text  # type: ignore[attr-defined]
    assert "ajn" not in text


@pytest.mark.parametrize("named", ["a b", "ž", "x" * 65, "a\tb"])
async def test_a_tenant_s_name_cannot_break_a_line(api: Api, lines: Lines, named: str) -> None:
    headers = [
        (b"authorization", (await api.key("platform"))["Authorization"].encode()),
        (b"x-tenant-id", named.encode()),
    ]
    await api.client.get("/v1/jobs", headers=headers)
    [record] = lines.records
    assert "tenant" not in vars(record)
