from __future__ import annotations

import json
from typing import Any

import pytest

from rag.bridge.messages import BadFrame, Id, Request, encode, failure, parse


def request(**changes: Any) -> dict[str, Any]:
    return {"id": "1", "command": "query", "params": {"query": "Koji je rok?"}, **changes}


def body(**changes: Any) -> bytes:
    return json.dumps(request(**changes)).encode()


def refused(frame: bytes) -> tuple[Id | None, str]:
    with pytest.raises(BadFrame) as raised:
        parse(frame)
    return raised.value.id, str(raised.value)


def test_a_request() -> None:
    assert parse(body()) == Request("1", "query", {"query": "Koji je rok?"}, {})
    assert parse(b'{"id": 7, "command": "health"}') == Request(7, "health", {}, {})


def test_what_stands_beside_the_command_becomes_headers() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    state = "x=" + "y" * 510
    given = body(deadline_ms=1500, idempotency_key="k 1", request_id="r-1", traceparent=trace, tracestate=state)
    assert parse(given).headers == {
        "X-Deadline-Ms": "1500", "Idempotency-Key": "k 1", "X-Request-ID": "r-1", "traceparent": trace,
        "tracestate": state,
    }  # fmt: skip
    assert parse(body(deadline_ms=None, idempotency_key=None, request_id=None)).headers == {}


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"{half", b"\xff", b'{"id": "\xc4"}', '{"id": "1", "command": "x"}'.encode("utf-16"), b"NaN",
        b'{"id": "1", "command": "x", "params": {"top_k": NaN}}', b"[" * 100_000, b"9" * 5000, b"null", b"[]", b'"x"',
    ],
)  # fmt: skip
def test_what_is_no_object_has_no_id(frame: bytes) -> None:
    assert refused(frame)[0] is None


@pytest.mark.parametrize("id", [None, True, 1.0, [], {}, "x" * 257, 10**256])
def test_an_id_that_is_none(id: object) -> None:
    found, told = refused(body(id=id))
    assert found is None
    assert told.startswith("id: ")


@pytest.mark.parametrize("id", [7, -1, "7", "", "č", "x" * 256, 10**255])
@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"command": 1}, "command: "),
        ({"command": None}, "command: "),
        ({"params": []}, "params: "),
        ({"params": None}, "params: "),
        ({"parms": {}}, "'parms'"),
        ({"deadline_ms": 0}, "deadline_ms: "),
        ({"deadline_ms": True}, "deadline_ms: "),
        ({"deadline_ms": "10"}, "deadline_ms: "),
        ({"deadline_ms": 1.5}, "deadline_ms: "),
        ({"idempotency_key": ""}, "idempotency_key: "),
        ({"tracestate": "x" * 513}, "tracestate: must be 1 to 512 "),
        ({"idempotency_key": "a\r\nX-Tenant-ID: b"}, "idempotency_key: "),
        ({"idempotency_key": "x" * 256}, "idempotency_key: "),
        ({"request_id": "č"}, "request_id: "),
        ({"request_id": " a"}, "request_id: "),
        ({"request_id": 5}, "request_id: "),
    ],
)
def test_what_is_wrong_is_named_beside_the_id(id: Id, wrong: dict[str, Any], names: str) -> None:
    found, told = refused(body(id=id, **wrong))
    assert (found, type(found)) == (id, type(id))
    assert names in told


def test_what_is_missing_is_named() -> None:
    assert refused(b'{"command": "x"}')[1].startswith("id: ")
    assert refused(b'{"id": 1}') == (1, "command: must be a string")


def test_a_message_is_compact_utf_8_and_what_that_cannot_hold_is_escaped() -> None:
    assert encode({"a": "č", "b": [1]}) == '{"a":"č","b":[1]}'.encode()
    assert encode({"a": "č\ud800"}) == rb'{"a":"\u010d\ud800"}'


def test_a_long_key_is_not_told_whole() -> None:
    assert len(encode(failure(None, "bad_frame", refused(body(**{"x" * 10**6: 1}))[1]))) < 1000


@pytest.mark.parametrize(
    ("code", "retryable"),
    [("overloaded", True), ("unreachable", True), ("connection_lost", True), ("timeout", True), ("cancelled", False),
     ("bad_frame", False), ("frame_too_large", False), ("duplicate_id", False)],
)  # fmt: skip
def test_an_error_of_the_bridge_s_own(code: str, retryable: bool) -> None:
    assert failure(7, code, "why") == {
        "type": "error", "query_id": 7, "id": 7, "error": "why", "code": code, "retryable": retryable,
        "status": None, "request_id": None, "retry_after": None,
    }  # fmt: skip
