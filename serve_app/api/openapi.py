"""The OpenAPI document: what routes say of themselves, and here, once, what holds for all of them.

A route names its answer's schema and, through `refusals`, the errors of its own. Errors of keys, tenants, deadlines and
bodies follow from what it depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter

from deployments import errors
from serve_app.api import dependencies
from serve_app.api.error_formats import PROBLEM, ErrorFormat, error_format_of, error_formats
from serve_app.api.errors import METHOD_NOT_ALLOWED, RETRY_AFTER_S, STATUS, WITH_RETRY_AFTER
from serve_app.api.idempotency import HEADER, MAX_KEY, REPLAYED, CreatingRoute
from serve_app.api.middleware import REQUEST_ID
from serve_app.query.answer_events import AnswerEvent
from serve_app.schemas.operations import Problem
from serve_app.schemas.queries import EVENT_TYPES

Errors = Iterable[type[errors.RagError]]
_REQUEST_ID = "0b3f6a5c9d7e4f1c8a2b6d5e4f3a2b1c"


_EXAMPLES = (
    errors.RagError("an unexpected error; the service's log has the details"),
    errors.BadInput("There was an error parsing the body"),
    errors.InvalidRequest("top_k is 51; at most 50 is allowed", field="top_k"),
    errors.InvalidFilter("filter: unexpected end at character 17", field="filter"),
    errors.UnknownCollection("collections: there is no 'zakon'; there is 'default', 'zakoni'", field="collections"),
    errors.UnknownModel("model: there is no 'gpt-4o'; there is 'rag', 'all-MiniLM-L6-v2'", field="model"),
    errors.PromptTooLong("the question leaves no room for passages in the model's context; shorten it"),
    errors.EmbedderMismatch("the index holds passages of another embedding model; index the documents again"),
    errors.DocumentTooLarge("body is limited to 52428800 bytes; send less at once"),
    errors.BodyTooSlow("the body was not received whole within 60 s; send it faster, or less at once"),
    errors.UnsupportedDocument("files: program.exe: this type is not supported"),
    errors.BrokenDocument("files: empty.txt: the file is empty"),
    errors.NotFound("job 'job_5f3a' does not exist"),
    errors.Conflict("collection 'zakoni' exists; choose another name, or patch it"),
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

_IMPLIED: dict[Callable[..., Any], Errors] = {
    dependencies.principal: (errors.Unauthenticated, errors.Unavailable),
    dependencies.caller: (errors.Forbidden, errors.TenantSuspended, errors.NotFound, errors.InvalidRequest),
    dependencies.asker: (errors.RateLimited,),
    dependencies.platform: (errors.Forbidden,),
    dependencies.deadline: (errors.InvalidRequest,),
}
_ROLES: dict[Callable[..., Any], str] = {
    dependencies.platform: "Needs a platform key.",
    dependencies.writer: "Needs an admin key of the tenant, or a platform key.",
    dependencies.caller: "Needs any key of the tenant, or a platform key.",
}

HEADERS: dict[str, dict[str, Any]] = {
    REQUEST_ID: {
        "description": "the request's id: the caller's own, or a new one",
        "required": True,
        "schema": {"type": "string"},
        "example": _REQUEST_ID,
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
    "WWW-Authenticate": {"required": True, "schema": {"type": "string", "const": "Bearer"}},
    REPLAYED: {
        "description": f"the answer was kept from an earlier request with the same {HEADER}",
        "schema": {"type": "string", "const": "true"},
    },
}
_PARAMETERS: dict[str, dict[str, Any]] = {
    REQUEST_ID: {
        "name": REQUEST_ID,
        "in": "header",
        "description": "the caller's own id of the request, if it is 1 to 128 of A-Z, a-z, 0-9, _ . : -",
        "schema": {"type": "string"},
        "example": _REQUEST_ID,
    },
    HEADER: {
        "name": HEADER,
        "in": "header",
        "description": "the same key with the same request gets the same answer, as a rule for 24 hours",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
        "example": "5f0c7a1e-2b64-4c0e-9a35-6f7d8e9c0b1a",
    },
}


def refusals(*raised: type[errors.RagError]) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route that may raise these, beside what its dependencies do."""
    return {
        status: {"content": {PROBLEM.media_type: {"examples": {error.code: {} for error in of_status}}}}
        for status, of_status in _by_status(raised).items()
    }


def answers(*headers: str, example: Any = None, **rest: Any) -> dict[str, Any]:
    """One of `responses=`: an answer with these of HEADERS, and an example of it as JSON."""
    content = {**rest.pop("content", {}), **({"application/json": {"example": example}} if example else {})}
    return {"headers": {name: {} for name in headers}, **({"content": content} if content else {}), **rest}


def event_schema(kind: type[AnswerEvent]) -> dict[str, Any]:
    """A message as it is on the wire: with its type."""
    schema = TypeAdapter(kind).json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)  # the whole answer refers to the same ones
    return schema | {
        "properties": {"type": {"const": EVENT_TYPES[kind]}, **schema["properties"]},
        "required": ["type", *schema["required"]],
    }


def event_stream(
    names: Iterable[str], schemas: Iterable[dict[str, Any]], examples: Mapping[str, bytes]
) -> dict[str, Any]:
    """`content` of a stream of server-sent events: their names, what their data may be, and how they are sent."""
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


_STREAMED: dict[type[BaseModel], None] = {}
"""The schemas that streams refer to. The framework does not see them."""


def data_stream(schemas: Sequence[type[BaseModel]], examples: Mapping[str, bytes]) -> dict[str, Any]:
    """`content` of a stream of events that have no names: their data is one of these, or at the end [DONE]."""
    _STREAMED.update(dict.fromkeys(schemas))
    refs: list[dict[str, Any]] = [{"$ref": f"#/components/schemas/{schema.__name__}"} for schema in schemas]
    json = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"oneOf": refs}}
    event = {
        "type": "object",
        "properties": {"data": {"anyOf": [json, {"const": "[DONE]"}]}},
        "required": ["data"],
    }
    named_examples = {name: {"value": sent.decode()} for name, sent in examples.items()}
    return {"text/event-stream": {"itemSchema": event, "examples": named_examples}}


class DescribedApi(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            for route in self.routes:
                if isinstance(route, APIRoute) and route.include_in_schema:
                    for method in route.methods:
                        _complete_operation(document["paths"][route.path_format][method.lower()], route, method)
            _add_components(document["components"])
        return super().openapi()


def operation_id(route: APIRoute) -> str:
    return f"{route.tags[0]}_{route.name.strip('_')}"


def _complete_operation(operation: dict[str, Any], route: APIRoute, method: str) -> None:
    """Add to what FastAPI says of an operation what follows from the operation's dependencies and route class."""
    depends = set(_dependency_calls(route.dependant))
    creates = isinstance(route, CreatingRoute) and method == "POST"
    raised = {error for call in depends for error in _IMPLIED.get(call, ())} | {errors.RagError}
    if "requestBody" in operation:
        raised |= {errors.BadInput, errors.DocumentTooLarge, errors.BodyTooSlow, errors.InvalidRequest}
    if creates:
        raised |= {errors.InvalidRequest, errors.RequestInProgress, errors.IdempotencyMismatch}
        raised |= {errors.TenantSuspended, errors.NotFound}
    responses: dict[str, Any] = operation["responses"]
    if "application/json" in responses.get("422", {}).get("content", {}):  # FastAPI's own words for a bad parameter
        del responses["422"]
        raised.add(errors.InvalidRequest)
    codes = {error.code: error for error in STATUS}
    for status in [*responses]:
        if examples := responses[status].get("content", {}).get(PROBLEM.media_type, {}).get("examples", ()):
            raised.update(codes[code] for code in examples)
            del responses[status]
    error_format = error_format_of(route.path_format)
    responses |= {
        str(status): _refusal(error_format, status, of_status)
        for status, of_status in _by_status(raised, error_format).items()
    }
    for status, response in responses.items():
        names = [REQUEST_ID, *response.get("headers", ()), *([REPLAYED] if creates and status < "300" else ())]
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    operation["responses"] = dict(sorted(responses.items()))
    for answered, declared in route.responses.items():
        if "example" in (
            content := declared.get("content", {}).get("application/json", {})
        ):  # FastAPI dropped its nulls
            responses[str(answered)]["content"]["application/json"]["example"] = content["example"]
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])
    operation.setdefault("parameters", []).extend(
        {"$ref": f"#/components/parameters/{name}"} for name in (REQUEST_ID, HEADER) if name != HEADER or creates
    )
    if role := next((words for call, words in _ROLES.items() if call in depends), ""):
        operation["description"] = f"{operation.get('description', '')}\n\n{role}".strip()


def _refusal(error_format: ErrorFormat, status: int, of_status: list[type[errors.RagError]]) -> dict[str, Any]:
    codes = [error.code for error in of_status]
    headers = ["WWW-Authenticate"] if status == 401 else []
    if status in WITH_RETRY_AFTER and any(error.retryable for error in of_status):
        headers.append("Retry-After")
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{error_format.model.__name__}"}
    examples: dict[str, Any] = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    if error_format is PROBLEM:
        schema = {"allOf": [schema, {"properties": {"code": {"enum": codes}}}]}
    else:
        examples = {
            example.code: {"summary": example.title, "value": error_format.body(_problem(example), example.field)}
            for example in _EXAMPLES
            if type(example) in of_status
        }
    return {
        "description": ", or ".join(error.title for error in of_status),
        "headers": {name: {} for name in headers},
        "content": {error_format.media_type: {"schema": schema, "examples": examples}},
    }


def _add_components(components: dict[str, Any]) -> None:
    """What operations refer to."""
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    for model in (*(error_format.model for error_format in error_formats()), *_STREAMED):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        components["schemas"] |= schema.pop("$defs", {}) | {model.__name__: schema}
    codes = [*(error.code for error in STATUS), METHOD_NOT_ALLOWED]
    components["schemas"][Problem.__name__]["properties"]["code"]["enum"] = codes
    components["headers"] = HEADERS
    components["parameters"] = _PARAMETERS
    components["examples"] = {
        example.code: {"summary": example.title, "value": _problem(example)} for example in _EXAMPLES
    }


def _problem(error: errors.RagError) -> dict[str, Any]:
    return {
        "type": f"https://rag.example/errors/{error.code.replace('_', '-')}",
        "title": error.title,
        "status": STATUS[type(error)],
        "detail": error.message,
        "code": error.code,
        "retryable": error.retryable,
        "request_id": _REQUEST_ID,
    }


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out has no null to send."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    return {**{key: value for key, value in schema.items() if key != "anyOf"}, **kinds[0]} if kinds else schema


def _by_status(raised: Errors, error_format: ErrorFormat = PROBLEM) -> dict[int, list[type[errors.RagError]]]:
    grouped: dict[int, list[type[errors.RagError]]] = {}
    for error in sorted(set(raised), key=list(STATUS).index):
        grouped.setdefault(error_format.status(STATUS[error]), []).append(error)
    return grouped


def _dependency_calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    for inner in dependant.dependencies:
        if inner.call is not None:
            yield inner.call
        yield from _dependency_calls(inner)
