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
from serve_app.schemas.base import Text, storable

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
    """That a grammar may be made of these JSON schemas together. Raises PydanticCustomError and ValueError."""
    objects = list(_objects(schemas))  # first: what is nested too deep is not written as JSON either
    size = sum(len(_as_text(schema).encode()) for schema in schemas)
    if size > max_bytes:
        raise _too_large(f"it has {size} bytes; at most {max_bytes} are allowed")
    if any(each.get("type") == "string" and not isinstance(each.get("format", ""), str) for each in objects):
        raise PydanticCustomError("no_format", "format must be a text; name one, or leave it out")
    left: float = MAX_REPEATED
    for keyword, value in (item for each in objects for item in each.items()):
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


def check_given(value: dict[str, Any]) -> None:
    """That it is not nested too deep, and that its texts have a form in UTF-8, which tokenizers need. Raises
    PydanticCustomError and ValueError."""
    for _ in _objects([value]):
        pass
    _as_text(value)


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


def _as_text(value: dict[str, Any]) -> str:
    """Its JSON. Raises ValueError for a text with half of a surrogate pair, which JSON can escape."""
    return storable(json.dumps(value, ensure_ascii=False))


def _objects(values: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All objects, wherever they are. Raises PydanticCustomError where one is nested too deep."""
    inside: list[tuple[dict[str, Any] | list[Any], int]] = [(value, 1) for value in values]
    while inside:
        value, depth = inside.pop()
        if depth > MAX_SCHEMA_DEPTH:
            raise _too_large(f"it is nested more than {MAX_SCHEMA_DEPTH} deep; flatten it")
        if isinstance(value, dict):
            yield value
        parts = value.values() if isinstance(value, dict) else value
        inside += [(part, depth + 1) for part in parts if isinstance(part, dict | list)]


def _too_large(why: str) -> PydanticCustomError:
    return PydanticCustomError("too_large", "{why}", {"why": why})
