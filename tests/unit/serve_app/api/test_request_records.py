"""What a request's span says of its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.trace import StatusCode
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from serve_app.api.request_records import RequestRecords
from tests.support.recorder import RecordedMetrics
from tests.support.traces import kept_spans

SCOPE = {"type": "http", "method": "POST", "path": "/v1/query", "headers": []}


async def ended(error: BaseException, *, begun: bool) -> tuple[StatusCode, Mapping[str, Any]]:
    """The status and the attributes of a request whose app raises this, before its answer or in it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None: ...

    with kept_spans() as kept:
        with pytest.raises(type(error)):
            await RequestRecords(app, RecordedMetrics())({**SCOPE}, receive, send)
        span = kept.one("POST none")
    return span.status.status_code, span.attributes or {}


@pytest.mark.parametrize("error", [ClientDisconnect(), asyncio.CancelledError()])
@pytest.mark.parametrize(("begun", "status"), [(False, 499), (True, 200)])
async def test_a_caller_who_hangs_up_is_no_failure(error: BaseException, begun: bool, status: int) -> None:
    code, attributes = await ended(error, begun=begun)
    assert (code, attributes["http.response.status_code"]) == (StatusCode.UNSET, status)
    assert attributes["rag.cancelled"] is True
    assert "error.type" not in attributes


@pytest.mark.parametrize(("begun", "status"), [(False, 500), (True, 200)])
async def test_an_unexpected_error_has_the_code_of_its_answer(begun: bool, status: int) -> None:
    code, attributes = await ended(ValueError("secret"), begun=begun)
    assert (code, attributes["http.response.status_code"]) == (StatusCode.ERROR, status)
    assert attributes["error.type"] == "internal_error"
    assert "rag.cancelled" not in attributes
