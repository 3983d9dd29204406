"""What requests may have at most, added to the OpenAPI document: limits of the configuration, which no model knows.

A tenant may have narrower ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from serve_app.config.args import ApiConfig

_ASKED = ("Ask", "QueryRequest")
_SEARCHED = (*_ASKED, "Find", "SearchRequest")
_CHATS = ("ChatRequest", "ResponsesRequest")
_FILTERED = (*_SEARCHED, *_CHATS, "DeleteDocuments", "DocumentDeletion", "ListDocuments")
_LISTS = ("ListCollections", "ListDocuments", "ListJobs", "ListTenants")
_IN_WORDS_OF_PYDANTIC = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}


def add_limits(document: dict[str, Any], config: ApiConfig) -> None:
    """Complete the schemas of requests. Raises KeyError for a limit of a field that there is not."""
    for schema in _every_schema(document):
        for word, keyword in _IN_WORDS_OF_PYDANTIC.items():
            if word in schema and schema.get("type") in ("integer", "number"):
                schema[keyword] = schema.pop(word)
    schemas = document["components"]["schemas"]
    for names, field, kind, limits in _limits(config):
        for name in names:
            _add(schemas[name]["properties"][field], kind, limits)
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter.get("name") == "limit":
                    _add(parameter["schema"], "integer", {"maximum": config.max_page})
                elif parameter.get("name") == "filter":
                    _add(parameter["schema"], "string", {"maxLength": config.max_filter_bytes})


def _limits(config: ApiConfig) -> Iterator[tuple[Sequence[str], str, str, Mapping[str, int]]]:
    """Schemas, their field, the JSON type of its value, and what that value may be."""
    yield _SEARCHED, "query", "string", {"minLength": 1, "maxLength": config.max_query_characters}
    yield _SEARCHED, "top_k", "integer", {"maximum": config.max_top_k}
    yield (*_SEARCHED, *_CHATS), "collections", "array", {"maxItems": config.max_collections}
    yield _FILTERED, "filter", "string", {"maxLength": config.max_filter_bytes}
    for field in ("max_tokens", "max_completion_tokens"):
        yield ("ChatRequest",), field, "integer", {"maximum": config.max_max_tokens}
    yield (*_ASKED, "CompletionRequest"), "max_tokens", "integer", {"maximum": config.max_max_tokens}
    yield ("ResponsesRequest",), "max_output_tokens", "integer", {"maximum": config.max_max_tokens}
    yield ("EmbeddingsRequest",), "input", "array", {"maxItems": config.max_inputs}
    yield ("RerankV1Request", "RerankV2Request"), "documents", "array", {"maxItems": config.max_inputs}
    yield ("ProcessDocuments",), "documents", "array", {"maxItems": config.max_files}
    yield _LISTS, "limit", "integer", {"maximum": config.max_page}


def _add(schema: dict[str, Any], kind: str, limits: Mapping[str, int]) -> None:
    """Add limits to the schema, or to that of its alternatives which is of this type."""
    for each in schema.get("anyOf", [schema]):
        if each.get("type") == kind:
            each.update(limits)
            return
    raise KeyError(f"no {kind} in {schema}")


def _every_schema(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inside in list(value.values()):
            yield from _every_schema(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _every_schema(inside)
