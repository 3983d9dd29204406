from __future__ import annotations

import pytest

from deployments import errors
from deployments.types import StageStatus
from serve_app.api.errors import STATUS
from tests.integration.api.conftest import Api


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
    assert answer.status_code == 503
    assert answer.json()["stages"]["retrieval"]["ready"] is False
    assert answer.json()["stages"]["embedding"]["ready"] is True


async def test_alive_and_openapi_need_no_key(api: Api) -> None:
    for path in ("/healthz", "/openapi.json", "/docs"):
        assert (await api.client.get(path, headers={"Authorization": ""})).status_code == 200


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


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("GET", "/v1/query", 405)])
async def test_unknown_routes_are_problems_too(api: Api, method: str, path: str, status: int) -> None:
    answer = await api.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
