"""How many values a body has, counted without parsing it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from deployments.errors import DocumentTooLarge, InvalidRequest
from serve_app.api.json_size import explain

TEXTS = ("", "a", "[{,:}]", '"', "\\", '\\"', '\\\\"[', "ž, č", '","[' * 5, "\n\\n,", "\\u0022,")


def values(value: Any) -> int:
    """The value and all that it holds. An empty list or object counts as two."""
    if isinstance(value, dict | list):
        held = value.values() if isinstance(value, dict) else value
        return 1 + (sum(map(values, held)) if value else 1)
    return 1


def drawn(source: random.Random, depth: int = 4) -> Any:
    kind = source.choice(("text", "number", "list", "object")) if depth else "text"
    if kind == "list":
        return [drawn(source, depth - 1) for _ in range(source.randrange(5))]
    if kind == "object":
        return {source.choice(TEXTS) + str(n): drawn(source, depth - 1) for n in range(source.randrange(5))}
    return source.choice((1, -2.5, None, True)) if kind == "number" else source.choice(TEXTS)


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_a_body_holds_is_counted_whatever_its_texts_say(seed: int, ascii_only: bool) -> None:
    value = drawn(random.Random(seed))
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    counted = values(value)
    assert explain(body, counted) is None
    assert isinstance(explain(body, counted - 1), DocumentTooLarge)


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"{}," * 5_000 + b"{}]",
        b"[" * 5_000,
        b'{"a":' * 5_000,
        b"[" + b'"",' * 50_000 + b'""]',
        b'"' * 50_000,
        b'{"' + b'":1,"'.join(b"%d" % n for n in range(5_000)) + b'":1}',
    ],
)
def test_many_values_are_refused_however_small_they_are(body: bytes) -> None:
    refused = explain(body, 4_000)
    assert isinstance(refused, DocumentTooLarge)
    assert refused.message == "the body has more than 4000 JSON values; send less at once"


def test_a_long_text_is_one_value() -> None:
    assert explain(json.dumps({"text": '[1, 2, "3"]\\' * 100_000}).encode(), 2) is None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
def test_other_encodings_in_which_values_cannot_be_counted_are_refused(encoding: str) -> None:
    assert isinstance(explain('{"query": "rok"}'.encode(encoding), 100), InvalidRequest)
