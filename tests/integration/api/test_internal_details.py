"""Addresses, paths and other software's texts: in the log, and in no answer."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from deployments.errors import StageUnavailable, Unavailable
from tests.integration.api.conftest import Api

INTERNAL = "db-1.internal:5432"


@pytest.fixture
def failing(api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    async def fail(*arguments: Any, **named: Any) -> Any:
        raise Unavailable("the database does not answer; try again", internal=INTERNAL)

    monkeypatch.setattr(type(api.stores.documents), "get", fail)
    return api


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/documents/d", None),
        ("POST", "/v1/commands", {"id": "1", "command": "get_document", "params": {"document_id": "d"}}),
        ("POST", "/v1/rpc", {"jsonrpc": "2.0", "id": 1, "method": "get_document", "params": {"document_id": "d"}}),
    ],
)
async def test_answers_do_not_tell_what_is_internal(
    failing: Api, caplog: pytest.LogCaptureFixture, method: str, path: str, body: Any
) -> None:
    with caplog.at_level(logging.WARNING):
        answer = await failing.client.request(method, path, json=body)
    assert "the database does not answer; try again" in answer.text
    assert INTERNAL not in answer.text
    assert INTERNAL in caplog.text


async def test_streams_do_not_tell_what_is_internal(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.stages.failures["retrieval"] = StageUnavailable("the index failed; try again", internal=INTERNAL)
    with caplog.at_level(logging.WARNING):
        answer = await api.client.post("/v1/query", json={"query": "q"})
    assert "the index failed; try again" in answer.text
    assert INTERNAL not in answer.text
    assert INTERNAL in caplog.text
