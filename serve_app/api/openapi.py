"""Completes the OpenAPI document that FastAPI generates.

A route declares the schema of its response and, with `describe_errors`, the errors that its own code raises. This
module adds what many routes share: headers, parameters, and the errors of keys, tenants, deadlines and bodies. It finds
out from a route's dependencies which of them the route has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter

from deployments import errors
from deployments.telemetry import tracing
from serve_app.api import dependencies, trace_context
from serve_app.api.error_formats import PROBLEM, ErrorFormat, error_format_of, error_formats
from serve_app.api.errors import METHOD_NOT_ALLOWED, RETRY_AFTER_S, STATUS, WITH_RETRY_AFTER
from serve_app.api.idempotency import KEY_HEADER, MAX_KEY_CHARACTERS, REPLAYED_HEADER, IdempotentRoute
from serve_app.api.middleware import REQUEST_ID_HEADER
from serve_app.api.openapi_limits import add_limits
from serve_app.config.args import ApiConfig
from serve_app.query.answer_events import AnswerEvent
from serve_app.schemas.operations import Problem
from serve_app.schemas.queries import EVENT_TYPES

Errors = Iterable[type[errors.RagError]]
"""Classes of errors, not raised ones."""
QUESTION_ERRORS: Sequence[type[errors.RagError]] = (
    errors.UnknownCollection,
    errors.InvalidFilter,
    errors.PromptTooLong,
    errors.EmbedderMismatch,
    errors.StageUnavailable,
    errors.Overloaded,
    errors.DeadlineExceeded,
)
"""What may go wrong with any question, and with any search."""
_EXAMPLE_REQUEST_ID = "0b3f6a5c9d7e4f1c8a2b6d5e4f3a2b1c"
_EXAMPLE_TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
_EXAMPLE_TRACEPARENT = f"00-{_EXAMPLE_TRACE_ID}-00f067aa0ba902b7-01"

_EXAMPLES = (
    errors.RagError("an unexpected error; the service's log has the details"),
    errors.BadInput("the body is not JSON in UTF-8"),
    errors.InvalidRequest("top_k is 51; at most 50 is allowed", field="top_k"),
    errors.InvalidFilter("filter: unexpected end at character 17", field="filter"),
    errors.UnknownCollection("collections: there is no 'zakon'; there is 'default', 'zakoni'", field="collections"),
    errors.UnknownModel("model: there is no 'gpt-4o'; there is 'rag', 'multilingual-e5-small'", field="model"),
    errors.PromptTooLong("the question leaves no room for passages in the model's context; shorten it"),
    errors.EmbedderMismatch(
        "the question has no terms, and the documents were indexed by the embedder 8a2b6d5e, and 0b3f6a5c runs; "
        "reindex them: rag reindex"
    ),
    errors.DocumentTooLarge("body is limited to 52428800 bytes; send less at once"),
    errors.BodyTooSlow("the body was not received whole within 60 s; send it faster, or less at once"),
    errors.UnsupportedContent("Content-Type is missing; send application/json"),
    errors.UnsupportedDocument("files: program.exe: this type is not supported"),
    errors.BrokenDocument("files: empty.txt: the file is empty"),
    errors.NotFound("job 'job_5f3a' does not exist"),
    errors.Conflict("collection 'zakoni' exists; choose another name, or patch it"),
    errors.RangeNotSatisfiable("Range names no byte of the 48211 bytes; ask for bytes=0-48210"),
    errors.QuotaExceeded("the tenant may keep 1000 documents; delete some first"),
    errors.IdempotencyMismatch("Idempotency-Key was used for another request; choose a new one"),
    errors.Unauthenticated("the key is not valid"),
    errors.Forbidden("this key may only ask; use an admin key of the tenant"),
    errors.TenantSuspended("tenant 'acme' is suspended; ask the platform to resume it"),
    errors.Unavailable("the database is busy or gone"),
    errors.StageUnavailable("retrieval has no replica that answers; try again"),
    errors.RateLimited("600 requests a minute are this tenant's limit; wait as long as Retry-After says"),
    errors.Overloaded("generation has too many requests at once; try again"),
    errors.RequestInProgress("Idempotency-Key: the first request with it is still being worked on; wait"),
    errors.DeadlineExceeded("generation did not finish within the deadline; send a larger X-Deadline-Ms"),
    errors.Unreachable("uri: docs.example cannot be reached; try again"),
)
"""One example of each error."""

# Dependency → the errors that it raises itself.
_ERRORS_OF_DEPENDENCY: dict[Callable[..., Any], Errors] = {
    dependencies.principal: (
        errors.Unauthenticated,
        errors.TenantSuspended,
        errors.NotFound,
        errors.RateLimited,
        errors.Unavailable,
    ),
    dependencies.caller: (errors.Forbidden, errors.InvalidRequest),
    dependencies.asker: (errors.RateLimited,),
    dependencies.platform: (errors.Forbidden,),
    dependencies.deadline: (errors.InvalidRequest,),
}
# Dependency → the key that it requires. The first one that a route depends on counts: `writer` depends on `caller`.
_REQUIRED_KEYS: dict[Callable[..., Any], str] = {
    dependencies.platform: "Needs a platform key.",
    dependencies.writer: "Needs an admin key of the tenant, or a platform key.",
    dependencies.caller: "Needs any key of the tenant, or a platform key.",
}

HEADERS: dict[str, dict[str, Any]] = {
    REQUEST_ID_HEADER: {
        "description": "the request's id: the caller's own, or a new one",
        "required": True,
        "schema": {"type": "string"},
        "example": _EXAMPLE_REQUEST_ID,
    },
    trace_context.HEADER: {
        "description": "W3C trace context of the request: in the caller's trace, if it sent one, else in a new one",
        "required": True,
        "schema": {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$"},
        "example": _EXAMPLE_TRACEPARENT,
    },
    "X-Query-ID": {
        "description": "what DELETE /v1/query/{query_id} cancels",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
    "Location": {
        "description": "where to find what was made",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Retry-After": {
        "description": "seconds to wait, where `retryable` is true",
        "schema": {"type": "integer"},
        "example": RETRY_AFTER_S,
    },
    "ETag": {
        "description": "the document's `sha256` in quotes",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{64}"$'},
    },
    "Accept-Ranges": {"required": True, "schema": {"type": "string", "const": "bytes"}},
    "Content-Range": {
        "description": "which bytes of how many",
        "required": True,
        "schema": {"type": "string", "pattern": "^bytes ([0-9]+-[0-9]+|[*])/[0-9]+$"},
        "example": "bytes 0-1023/48211",
    },
    "Content-Disposition": {
        "description": "whether a browser may show it, and its file name",
        "required": True,
        "schema": {"type": "string", "pattern": "^(inline|attachment); filename="},
        "example": 'attachment; filename="zakon.html"',
    },
    "Content-Security-Policy": {
        "description": "a browser runs nothing of it",
        "required": True,
        "schema": {"type": "string"},
    },
    "WWW-Authenticate": {"required": True, "schema": {"type": "string", "const": "Bearer"}},
    REPLAYED_HEADER: {
        "description": f"the answer was kept from an earlier request with the same {KEY_HEADER}",
        "schema": {"type": "string", "const": "true"},
    },
}
_PARAMETERS: dict[str, dict[str, Any]] = {
    REQUEST_ID_HEADER: {
        "name": REQUEST_ID_HEADER,
        "in": "header",
        "description": "the caller's own id of the request, if it is 1 to 128 of A-Z, a-z, 0-9, _ . : -",
        "schema": {"type": "string"},
        "example": _EXAMPLE_REQUEST_ID,
    },
    trace_context.HEADER: {
        "name": trace_context.HEADER,
        "in": "header",
        "description": "W3C trace context of the caller, which the request's trace continues; `tracestate` is kept "
        f"too, up to {tracing.MAX_TRACESTATE} characters",
        "schema": {"type": "string"},
        "example": _EXAMPLE_TRACEPARENT,
    },
    KEY_HEADER: {
        "name": KEY_HEADER,
        "in": "header",
        "description": "the same key with the same request gets the same answer for 24 hours",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARACTERS},
        "example": "5f0c7a1e-2b64-4c0e-9a35-6f7d8e9c0b1a",
    },
}


def describe_errors(*raised: type[errors.RagError]) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, for its `responses=`: the errors that its own code raises.

    They hold only the errors' codes. `_complete_operation` replaces them with the full responses.
    """
    return {
        status: {"content": {PROBLEM.media_type: {"examples": {error.code: {} for error in group}}}}
        for status, group in _group_by_status(raised).items()
    }


def describe_response(*headers: str, example: Any = None, **rest: Any) -> dict[str, Any]:
    """One response of a route, for its `responses=`.

    `headers`: names in HEADERS. `example`: a JSON body, None for no example. `rest`: other keys that FastAPI accepts.
    """
    content = {**rest.pop("content", {}), **({"application/json": {"example": example}} if example else {})}
    return {"headers": {name: {} for name in headers}, **({"content": content} if content else {}), **rest}


def describe_event(kind: type[AnswerEvent]) -> dict[str, Any]:
    """The JSON schema of an event as it is sent: with the key `type`."""
    schema = TypeAdapter(kind).json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)  # the schema of the answer as one object adds the same definitions
    return schema | {
        "properties": {"type": {"const": EVENT_TYPES[kind]}, **schema["properties"]},
        "required": ["type", *schema["required"]],
    }


def describe_event_stream(
    names: Iterable[str], schemas: Iterable[dict[str, Any]], examples: Mapping[str, bytes]
) -> dict[str, Any]:
    """`content` of a response that streams named server-sent events.

    `names`: the events' names. `schemas`: JSON schemas, one of which each event's data has. `examples`: name of the
    example → bytes of an event as it is sent.
    """
    event = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": "^[0-9]+$"},
            "event": {"enum": list(names)},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"oneOf": list(schemas)},
            },
        },
        "required": ["id", "event", "data"],
    }
    named_examples = {name: {"value": sent.decode()} for name, sent in examples.items()}
    return {"text/event-stream": {"itemSchema": event, "examples": named_examples}}


_STREAMED_MODELS: dict[type[BaseModel], None] = {}
"""The models that streams refer to, in order. `describe_data_stream` adds them while the routes' modules are imported.

FastAPI does not know these models, and therefore `_add_components` adds their schemas to the document.
"""


def describe_data_stream(
    schemas: Sequence[type[BaseModel]], examples: Mapping[str, bytes], *, ends_with_done: bool = True
) -> dict[str, Any]:
    """`content` of a response that streams server-sent events as OpenAI's API does.

    The data of each event has one of the `schemas`; with `ends_with_done`, the data of the last one is `[DONE]`.
    `examples`: as in `describe_event_stream`. Adds the schemas to _STREAMED_MODELS.
    """
    _STREAMED_MODELS.update(dict.fromkeys(schemas))
    refs: list[dict[str, Any]] = [{"$ref": f"#/components/schemas/{schema.__name__}"} for schema in schemas]
    json_data = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"oneOf": refs}}
    event = {
        "type": "object",
        "properties": {"data": {"anyOf": [json_data, {"const": "[DONE]"}]} if ends_with_done else json_data},
        "required": ["data"],
    }
    named_examples = {name: {"value": sent.decode()} for name, sent in examples.items()}
    return {"text/event-stream": {"itemSchema": event, "examples": named_examples}}


class DescribedApi(FastAPI):
    """A FastAPI application whose OpenAPI document is completed by this module."""

    limits = ApiConfig()
    """What the document says that requests may have at most."""

    def openapi(self) -> dict[str, Any]:
        """The document. It is generated at the first call and then kept."""
        if self.openapi_schema is None:
            document = super().openapi()
            for route in self.routes:
                if isinstance(route, APIRoute) and route.include_in_schema:
                    for method in route.methods:
                        _complete_operation(document["paths"][route.path_format][method.lower()], route, method)
            _add_components(document["components"])
            add_limits(document, self.limits)
        return super().openapi()


def operation_id(route: APIRoute) -> str:
    """The id of an operation, for example `documents_delete`: the route's first tag and the function's name."""
    return f"{route.tags[0]}_{route.name.strip('_')}"


def _complete_operation(operation: dict[str, Any], route: APIRoute, method: str) -> None:
    """Add the shared errors, headers, parameters and the required key to an operation that FastAPI described."""
    route_dependencies = set(_collect_dependencies(route.dependant))
    is_idempotent = isinstance(route, IdempotentRoute) and method == "POST"
    responses: dict[str, Any] = operation["responses"]
    raised = _remove_declared_errors(responses)
    raised.update(error for dependency in route_dependencies for error in _ERRORS_OF_DEPENDENCY.get(dependency, ()))
    if "requestBody" in operation:
        raised |= {
            errors.BadInput,
            errors.DocumentTooLarge,
            errors.BodyTooSlow,
            errors.UnsupportedContent,
            errors.InvalidRequest,
        }
    if is_idempotent:
        raised |= {errors.InvalidRequest, errors.RequestInProgress, errors.IdempotencyMismatch}
    error_format = error_format_of(route.path_format)
    for error_status, group in _group_by_status(raised, error_format).items():
        described = _error_response(error_format, error_status, group)
        if (own := responses.get(str(error_status))) is not None:  # the route has an answer of this status, too
            described["description"] = f"{own['description']}. {described['description']}"
            described["content"] |= own["content"]
        responses[str(error_status)] = described
    for status, response in responses.items():
        header_names = [REQUEST_ID_HEADER, trace_context.HEADER, *response.get("headers", ())]
        if is_idempotent and int(status) < 300:
            header_names.append(REPLAYED_HEADER)
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in header_names}
    for declared_status, declared in route.responses.items():
        declared_json = declared.get("content", {}).get("application/json", {})
        if "example" in declared_json:  # set it again, because FastAPI drops its null values
            responses[str(declared_status)]["content"]["application/json"]["example"] = declared_json["example"]
    operation["responses"] = dict(sorted(responses.items()))
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _remove_null(parameter["schema"])
    shared_parameters = [REQUEST_ID_HEADER, trace_context.HEADER, *([KEY_HEADER] if is_idempotent else [])]
    operation.setdefault("parameters", []).extend(
        {"$ref": f"#/components/parameters/{name}"} for name in shared_parameters
    )
    for dependency, required_key in _REQUIRED_KEYS.items():
        if dependency in route_dependencies:
            operation["description"] = f"{operation.get('description', '')}\n\n{required_key}".strip()
            break


def _remove_declared_errors(responses: dict[str, Any]) -> set[type[errors.RagError]]:
    """Remove the error responses that the route and FastAPI declared, and return their errors.

    The error that any route may raise, RagError, is among them.
    """
    raised: set[type[errors.RagError]] = {errors.RagError}
    # FastAPI's own response for an invalid parameter. This service sends InvalidRequest instead.
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]
        raised.add(errors.InvalidRequest)
    error_of_code = {error.code: error for error in STATUS}
    for status in list(responses):
        if codes := responses[status].get("content", {}).get(PROBLEM.media_type, {}).get("examples", ()):
            raised.update(error_of_code[code] for code in codes)
            del responses[status]
    return raised


def _error_response(error_format: ErrorFormat, status: int, group: list[type[errors.RagError]]) -> dict[str, Any]:
    """The response of a status that all errors of the group have."""
    codes = [error.code for error in group]
    headers = {401: ["WWW-Authenticate"], 416: ["Content-Range"]}.get(status, [])
    if status in WITH_RETRY_AFTER and any(error.retryable for error in group):
        headers.append("Retry-After")
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{error_format.model.__name__}"}
    examples: dict[str, Any] = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    if error_format is PROBLEM:
        schema = {"allOf": [schema, {"properties": {"code": {"enum": codes}}}]}
    else:
        examples = {
            example.code: {
                "summary": example.title,
                "value": error_format.body(_example_problem(example), example.field),
            }
            for example in _EXAMPLES
            if type(example) in group
        }
    return {
        "description": ", or ".join(error.title for error in group),
        "headers": {name: {} for name in headers},
        "content": {error_format.media_type: {"schema": schema, "examples": examples}},
    }


def _add_components(components: dict[str, Any]) -> None:
    """Add the schemas, headers, parameters and examples that operations refer to."""
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    for model in (*(error_format.model for error_format in error_formats()), *_STREAMED_MODELS):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        components["schemas"] |= schema.pop("$defs", {}) | {model.__name__: schema}
    codes = [*(error.code for error in STATUS), METHOD_NOT_ALLOWED]
    components["schemas"][Problem.__name__]["properties"]["code"]["enum"] = codes
    components["headers"] = HEADERS
    components["parameters"] = _PARAMETERS
    components["examples"] = {
        example.code: {"summary": example.title, "value": _example_problem(example)} for example in _EXAMPLES
    }


def _example_problem(error: errors.RagError) -> dict[str, Any]:
    """The problem (RFC 9457) that is sent for an error."""
    return {
        "type": f"https://rag.example/errors/{error.code.replace('_', '-')}",
        "title": error.title,
        "status": STATUS[type(error)],
        "detail": error.message,
        "code": error.code,
        "retryable": error.retryable,
        "request_id": _EXAMPLE_REQUEST_ID,
        "trace_id": _EXAMPLE_TRACE_ID,
    }


def _remove_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter without its null type.

    FastAPI declares an optional parameter as "a type or null". Null cannot be sent in a URL or a header: the client
    leaves the parameter out.
    """
    types = [type_schema for type_schema in schema.get("anyOf", ()) if type_schema != {"type": "null"}]
    if not types:
        return schema
    return {**{key: value for key, value in schema.items() if key != "anyOf"}, **types[0]}


def _group_by_status(raised: Errors, error_format: ErrorFormat = PROBLEM) -> dict[int, list[type[errors.RagError]]]:
    """HTTP status in this format → the errors that have it, in the order of STATUS, each once."""
    grouped: dict[int, list[type[errors.RagError]]] = {}
    for error in sorted(set(raised), key=list(STATUS).index):
        grouped.setdefault(error_format.status(STATUS[error]), []).append(error)
    return grouped


def _collect_dependencies(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    """The functions that a route depends on, directly or through other dependencies."""
    for inner in dependant.dependencies:
        if inner.call is not None:
            yield inner.call
        yield from _collect_dependencies(inner)
