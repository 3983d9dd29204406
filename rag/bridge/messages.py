"""Parses frames into requests, and builds the bridge's own messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeGuard

Id = str | int
Message = dict[str, Any]

MAX_ID = 256
"""Characters of an id, as the service has it."""
MAX_HEADER = 255
"""Characters of a value that becomes a header, unless _LONGER names it."""
TERMINAL_TYPES = frozenset({"result", "complete", "error"})
"""Types of the message that ends an answer; each answer has exactly one."""
RETRYABLE = frozenset({"overloaded", "unreachable", "connection_lost", "timeout"})
"""Codes of the bridge's own errors that are worth a retry."""

_HEADERS = {
    "deadline_ms": "X-Deadline-Ms",
    "idempotency_key": "Idempotency-Key",
    "request_id": "X-Request-ID",
    "traceparent": "traceparent",
    "tracestate": "tracestate",
}
_LONGER = {"tracestate": 512}
"""As many characters as W3C Trace Context asks to hand on."""
_KEYS = ("id", "command", "params", *_HEADERS)


class BadFrame(Exception):
    """The frame is not a valid request. `id` is its id, if that could be read."""

    def __init__(self, message: str, id: Id | None = None) -> None:
        super().__init__(message)
        self.id = id


@dataclass(frozen=True, slots=True)
class Request:
    id: Id
    command: str
    params: Mapping[str, Any]
    headers: Mapping[str, str]


def parse(frame: bytes) -> Request:
    """Raises BadFrame."""
    try:
        found = json.loads(frame.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadFrame(f"the frame is not JSON in UTF-8: {reason}") from None
    if not isinstance(found, dict):
        raise BadFrame("the frame is not a JSON object")
    id = found.get("id")
    if not is_id(id):
        raise BadFrame(f"id: must be a string or an integer of at most {MAX_ID} characters")
    for key in found:
        if key not in _KEYS:
            raise BadFrame(f"unknown key {key[:80]!r}; a request has {', '.join(_KEYS)}", id)
    command, params = found.get("command"), found.get("params", {})
    if not isinstance(command, str):
        raise BadFrame("command: must be a string", id)
    if not isinstance(params, dict):
        raise BadFrame("params: must be an object", id)
    return Request(id, command, params, _headers(found, id))


def is_id(value: object) -> TypeGuard[Id]:
    return isinstance(value, Id) and not isinstance(value, bool) and len(str(value)) <= MAX_ID


def encode(message: Mapping[str, Any]) -> bytes:
    """Compact JSON. An unpaired surrogate, which UTF-8 cannot encode, stays an escape."""
    try:
        return _json(message, ascii_only=False).encode()
    except UnicodeEncodeError:
        return _json(message, ascii_only=True).encode()


def failure(
    id: Id | None,
    code: str,
    error: str,
    *,
    retryable: bool | None = None,
    status: int | None = None,
    request_id: str | None = None,
    retry_after: int | None = None,
) -> Message:
    """The error that ends a request. Without `retryable`, RETRYABLE decides by the code."""
    return {
        "type": "error",
        "query_id": id,
        "id": id,
        "error": error,
        "code": code,
        "retryable": code in RETRYABLE if retryable is None else retryable,
        "status": status,
        "request_id": request_id,
        "retry_after": retry_after,
    }


def result(id: Id, data: Mapping[str, Any]) -> Message:
    return {"type": "result", "id": id, "query_id": id, "data": data}


def _headers(found: Mapping[str, Any], id: Id) -> dict[str, str]:
    headers: dict[str, str] = {}
    for key, header in _HEADERS.items():
        value, most = found.get(key), _LONGER.get(key, MAX_HEADER)
        if value is None:
            continue
        if key == "deadline_ms":
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BadFrame("deadline_ms: must be a whole number of milliseconds above 0", id)
        elif not isinstance(value, str) or not 1 <= len(value) <= most or not _fits_header(value):
            raise BadFrame(f"{key}: must be 1 to {most} printable ASCII characters", id)
        headers[header] = str(value)
    return headers


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _fits_header(value: str) -> bool:
    return value.isascii() and value.isprintable() and value == value.strip()


def _json(message: Mapping[str, Any], *, ascii_only: bool) -> str:
    return json.dumps(message, ensure_ascii=ascii_only, separators=(",", ":"))
