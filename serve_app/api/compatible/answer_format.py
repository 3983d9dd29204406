"""The form that an answer is to have: `response_format` of chats, `text.format` of responses.

Raw models can be held to a JSON schema. The engine makes a grammar of it, which takes time and memory. So what is large
or nested deep, or repeats much, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from serve_app.api.compatible.base import ForeignRequest
from serve_app.schemas.base import Text

MAX_SCHEMA_BYTES: Final = 16 * 1024
MAX_SCHEMA_DEPTH: Final = 32
"""Levels of objects and lists in a schema."""
MAX_REPEATED: Final = 1_000
"""The largest sum of the numbers in a schema that say how often something repeats."""
_REPEATS = (
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
)
_ANY_OBJECT = '{"type":"object"}'


def check_schemas(schemas: Sequence[dict[str, Any]], max_bytes: int) -> None:
    """That a grammar may be made of these JSON schemas together. Raises PydanticCustomError."""
    keywords = list(_keywords(schemas))  # first: what is nested too deep is not written as JSON either
    size = sum(len(json.dumps(schema, ensure_ascii=False).encode()) for schema in schemas)
    if size > max_bytes:
        raise _too_large(f"it has {size} bytes; at most {max_bytes} are allowed")
    left: float = MAX_REPEATED
    for keyword, value in keywords:
        if (keyword == "pattern" and isinstance(value, str)) or keyword == "patternProperties":
            why = f"{keyword} is not supported; leave it out"
            raise PydanticCustomError("unsupported", "{why}", {"why": why})
        if keyword in _REPEATS and isinstance(value, int | float):
            if not abs(value) <= left:  # so NaN is refused too
                raise _too_large(
                    f"with {keyword}, numbers of repeats add up to over {MAX_REPEATED}; send smaller ones, or fewer"
                )
            left -= abs(value)


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    check_schemas([schema], MAX_SCHEMA_BYTES)
    return schema


SchemaName = Annotated[Text, Field(min_length=1, max_length=64, examples=["rok"])]
BoundedSchema = Annotated[
    dict[str, Any],
    AfterValidator(_bounded),
    Field(
        description="at most 16 KiB and 32 levels; `pattern` is refused, and so are numbers in `maxItems` and the like "
        "that add up to over 1,000",
        examples=[{"type": "object", "properties": {"dana": {"type": "integer"}}, "required": ["dana"]}],
    ),
]


def check_depth(values: Sequence[dict[str, Any]]) -> None:
    """That none is nested too deep. Raises PydanticCustomError."""
    for _ in _keywords(values):
        pass


class NamedSchema(ForeignRequest):
    name: SchemaName
    schema_: BoundedSchema = Field(alias="schema")
    description: Annotated[Any, Field(description="has no effect")] = None
    strict: Annotated[Any, Field(description="has no effect: the answer always fits")] = None


class AnswerFormat(ForeignRequest):
    """`text`, or of raw models `json_object`: any JSON object, or `json_schema`: what fits the schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = Field(None, description="with type json_schema")

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if (self.type == "json_schema") is (self.json_schema is None):
            why = "json_schema goes with type json_schema, which needs it"
            raise PydanticCustomError("no_schema", "{why}", {"why": why})
        return self

    def schema_text(self) -> str | None:
        """The JSON schema that the answer is to fit; None for plain text."""
        if self.json_schema is not None:
            return json.dumps(self.json_schema.schema_, ensure_ascii=False)
        return None if self.type == "text" else _ANY_OBJECT


def _keywords(schemas: Sequence[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """All keys with their values, wherever they are. Raises PydanticCustomError where it is nested too deep."""
    inside: list[tuple[dict[str, Any] | list[Any], int]] = [(schema, 1) for schema in schemas]
    while inside:
        value, depth = inside.pop()
        if depth > MAX_SCHEMA_DEPTH:
            raise _too_large(f"it is nested more than {MAX_SCHEMA_DEPTH} deep; flatten it")
        if isinstance(value, dict):
            yield from value.items()
        parts = value.values() if isinstance(value, dict) else value
        inside += [(part, depth + 1) for part in parts if isinstance(part, dict | list)]


def _too_large(why: str) -> PydanticCustomError:
    return PydanticCustomError("too_large", "{why}", {"why": why})
