"""`response_format` of POST /v1/chat/completions: which answers in JSON may be asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.api.compatible.conftest import openai_error
from tests.integration.api.compatible.test_chat import CHAT, RAW, asked
from tests.integration.api.conftest import Api

SCHEMA = {"type": "object", "properties": {"dana": {"type": "integer"}}, "required": ["dana"]}


def in_schema(schema: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "rok", "schema": schema, **fields}}


def nested(levels: int) -> dict[str, Any]:
    """A schema of so many levels."""
    schema: dict[str, Any] = {}
    for _ in range(levels - 1):
        schema = {"items": schema}
    return schema


async def test_a_raw_model_may_be_held_to_a_json_schema(api: Api) -> None:
    for asked_for in (in_schema(SCHEMA, strict=True, description="x"), {"type": "json_object"}, {"type": "text"}):
        answer = await api.client.post(CHAT, json=asked(RAW, response_format=asked_for))
        assert answer.status_code == 200, answer.text
    given = [request.sampling.json_schema for request in api.stages.requests]
    assert [schema and json.loads(schema) for schema in given] == [SCHEMA, {"type": "object"}, None]


async def test_for_rag_json_is_refused_by_name(api: Api) -> None:
    for asked_for in (in_schema(SCHEMA), {"type": "json_object"}):
        error = openai_error(await api.client.post(CHAT, json=asked(response_format=asked_for)))
        assert (error["param"], error["message"].startswith("response_format: only raw models")) == (
            "response_format", True,
        )  # fmt: skip
    assert api.stages.asked == []


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"enum": ["a" * 17_000]}, "at most 16384 are allowed"),
        ({"type": "string", "pattern": "(a+)+$"}, "pattern is not supported"),
        ({"properties": {"a": {"patternProperties": {"a": {}}}}}, "patternProperties is not supported"),
        ({"items": [{"maxItems": 1_001}]}, "with maxItems, numbers of repeats add up to over 1000"),
        ({"minLength": 1e9}, "with minLength, numbers of repeats add up"),
        ({"minItems": 500, "items": {"maxLength": 501}}, "with maxLength, numbers of repeats add up"),
        ({"minItems": -500, "items": {"maxLength": 1_001}}, "with maxLength, numbers of repeats add up"),
        ({"minContains": 1_001}, "with minContains, numbers of repeats add up"),
        ({"maxContains": 10**400}, "with maxContains, numbers of repeats add up"),
        (nested(33), "nested more than 32 deep; flatten it"),
        (nested(900), "nested more than 32 deep; flatten it"),
        ({"type": "string", "format": {}}, "format must be a text"),
        ("object", "should be an object"),
    ],
)
async def test_a_schema_is_bounded(api: Api, schema: Any, told: str) -> None:
    answer = await api.client.post(CHAT, json=asked(RAW, response_format=in_schema(schema)))
    error = openai_error(answer)
    assert (answer.status_code, error["param"]) == (400, "response_format.json_schema.schema")
    assert told in error["message"]


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"pattern": {"type": "string", "maxLength": 1_000}}},
        {"minItems": 500, "items": {"maxLength": 500}},
        nested(32),
    ],
)
async def test_a_schema_within_the_bounds_is_taken(api: Api, schema: Any) -> None:
    assert (await api.client.post(CHAT, json=asked(RAW, response_format=in_schema(schema)))).status_code == 200


async def test_json_ends_where_the_model_would_end_it(api: Api) -> None:
    for asked_for in (in_schema(SCHEMA), {"type": "json_object"}):
        answer = await api.client.post(CHAT, json=asked(RAW, response_format=asked_for, ignore_eos=True))
        error = openai_error(answer)
        assert (answer.status_code, error["param"]) == (400, "ignore_eos")
        assert "response_format" in error["message"]
    assert api.stages.asked == []
    for fields in ({"ignore_eos": False, "response_format": in_schema(SCHEMA)}, {"ignore_eos": True}):
        assert (await api.client.post(CHAT, json=asked(RAW, **fields))).status_code == 200
